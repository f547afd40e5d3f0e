"""`schedules serve` in a process of its own, on a free port of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from schedules_pipeline.dev.ports import free_port

START_SECONDS = 30.0
STOP_SECONDS = 15.0
SERVE = "from schedules_pipeline.cli import main; main(['serve'])"


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """Ask it to end, as a supervisor does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def served(database_url: str, folder: Path, *, prelude: str = "") -> Iterator[Served]:
    """It serves until the block ends. `prelude`: Python that runs before."""
    port = free_port()
    known = {"SCHEDULES_DATABASE_URL": database_url, "SCHEDULES_API_PORT": str(port)}
    log = folder / "api.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{prelude}\n{SERVE}"],
            env={**os.environ, **known},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Served(f"http://127.0.0.1:{port}", log, process)
    try:
        _wait(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: Served) -> None:
    """Until it answers. Errors: RuntimeError with what it said instead."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        try:
            httpx.get(f"{server.url}/healthz")
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"the API did not come up: {server.log.read_text()}")
