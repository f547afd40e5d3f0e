"""`schedules dev` as a newcomer runs it: every real part, from nothing to the first fire."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.launcher.identity import Identity
from schedules_pipeline.settings import child_environment

PARTS = {
    "postgres", "code server", "run parent", "daemon", "webserver", "api",
    "demo-async", "demo-sync",
}  # fmt: skip

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]


def _left(home: Home) -> list[Identity]:
    server = EmbeddedPostgres(home.postgres).running()
    return home.processes() + ([server] if server else [])


def _wait(what: Callable[[], object], output: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, output.read_text()
        time.sleep(0.1)


def _says(output: Path, pattern: str) -> bool:
    return re.search(pattern, output.read_text()) is not None


def _get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        status: int = answer.status
    return status


def test_from_nothing_to_the_first_fires_through_a_dead_code_server_to_no_process(
    tmp_path: Path,
) -> None:
    home, output = Home(tmp_path / "home"), tmp_path / "output"
    environment = {k: v for k, v in child_environment().items() if not k.startswith("SCHEDULES_")}
    command = [sys.executable, "-m", "schedules_pipeline.cli", "dev", "--api-port", "0"]
    command += ["--ui-port", "0", "--home", str(home.path)]
    with (
        output.open("wb") as out,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
        ) as dev,
    ):
        try:
            _wait(lambda: "Fires, as they land" in output.read_text(), output, 120)
            rest, ui = re.findall(r"http://\S+", output.read_text())
            assert _get(f"{rest}/healthz") == 200
            assert _get(f"{ui}/server_info") == 200
            assert set(home.read_records()) == PARTS

            for agent in ("demo-async", "demo-sync"):
                line = rf"(?m)^\S+Z  \S+ +{agent} +delivered +\S+ s$"
                _wait(partial(_says, output, line), output, 120)

            os.kill(home.read_records()["code server"].pid, signal.SIGKILL)
            _wait(lambda: "code server   restarted" in output.read_text(), output, 5)

            began = time.monotonic()
            dev.send_signal(signal.SIGTERM)
            assert dev.wait(20) == 0
            assert time.monotonic() - began < 10
            assert output.read_text().endswith("Stopped; nothing is left running.\n")
            assert _left(home) == []
        finally:
            dev.kill()
            for process in _left(home):
                process.kill(signal.SIGKILL)
