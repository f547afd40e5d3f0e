"""The peer: stock Dagster, one run per fire, on the same machine, with the same agent and calls.

python -m bench stock [--fires 20]

Its own PostgreSQL and our dagster.yaml: without that file's run coordinator its runs would wait in
a queue that is looked at every 5 s.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

from bench.instants import tally
from bench.report import lateness, publish
from bench.scene import inputs, workplace
from schedules_pipeline.dev.databases import with_database
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.launcher.identity import PROC
from schedules_pipeline.settings import with_driver
from tests.agents import RunningAgent, start_agent

AHEAD_SECONDS = 40.0
SECONDS_PER_FIRE = 15.0


def main() -> None:
    """One burst."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fires", type=int, default=20)
    parser.add_argument("--json")
    found = measure(parser.parse_args().fires)
    row = {name: round(value, 3) for name, value in found.items()}
    publish(
        "Stock Dagster, one run per fire",
        [row],
        "All fires at one instant; two HTTP calls per fire. Times in seconds after the instant.",
    )


def measure(fires: int) -> dict[str, float]:
    """So many fires at one instant; the names are those of `bench.burst`.

    A run's event is written before it ends, so its last delivery is its audit.
    """
    instant = time.time() + AHEAD_SECONDS
    with workplace() as folder, start_agent(folder) as agent, _house(folder, agent, instant, fires):
        agent.wait_for(fires, method="event/send", timeout=AHEAD_SECONDS + SECONDS_PER_FIRE * fires)
        found = inputs(agent)
    # The fire's time in its metadata is in whole seconds, the instant is not.
    arrivals = [each["at"] - instant for each in found]
    return {
        "rate": fires / max(arrivals),
        "first": min(arrivals),
        "last": max(arrivals),
        "audited": max(arrivals),
        "undelivered": 0,
        **tally(found, fires),
        "p50_ms": lateness(arrivals)["p50_ms"],
    }


@contextmanager
def _house(folder: Path, agent: RunningAgent, instant: float, fires: int) -> Iterator[None]:
    """Code server and daemon, as `make dev` has them, with the peer's definitions."""
    server = EmbeddedPostgres(folder / "postgres")
    url = server.start()
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        (files("schedules_pipeline.dev") / "dagster.yaml").read_text()
    )
    socket = folder / "code.sock"
    (home / "workspace.yaml").write_text(
        f"load_from:\n  - grpc_server: {{socket: {socket}, location_name: stock}}\n"
    )
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "SCHEDULES_DAGSTER_URL": with_driver(with_database(url, "postgres"), "psycopg2"),
        "BENCH_AGENT_URL": agent.url,
        "BENCH_INSTANTS": json.dumps([instant]),
        "BENCH_FIRES": str(fires),
    }
    code: tuple[str, ...] = (
        *("dagster", "api", "grpc", "--socket", str(socket)),
        *("--module-name", "bench.stock_definitions", "--location-name", "stock"),
    )
    daemon = ("dagster._daemon", "run", "--workspace", str(home / "workspace.yaml"))
    processes = [_start(command, environment, folder) for command in (code, daemon)]
    try:
        yield
    finally:
        for process in reversed(processes):
            _end(process)
        server.stop()


def _start(
    command: tuple[str, ...], environment: dict[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    with (folder / f"{command[0]}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=Path(__file__).resolve().parents[1],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its group holds the runs that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for run in _children_of_nobody(process.pid):
        with suppress(ProcessLookupError):
            os.kill(run, signal.SIGKILL)


def _children_of_nobody(session: int) -> list[int]:
    """What is left of that session."""
    return [
        int(entry.name)
        for entry in PROC.iterdir()
        if entry.name.isdigit() and _session_of(int(entry.name)) == session
    ]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
