"""The whole house in processes of its own, for end-to-end tests and benches.

    with start_stack(directory) as stack:
        agent_id = stack.register("clerk", agent.url)
        schedule = stack.create(agent_id, name="hourly", interval_seconds=3600)

It is what `make dev` starts, without the demo, on free ports. Leave the `with` block and no process
is left.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from schedules_pipeline.dev.postgres import EmbeddedPostgres

READY_SECONDS = 120.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Stack:
    """A running `schedules dev`."""

    home: Path
    process: subprocess.Popen[bytes]
    output: Path
    api: httpx.Client
    ui: httpx.Client
    database_url: str

    def register(self, name: str, acp_url: str, acp_type: str = "async") -> str:
        """Register an agent; returns its id."""
        body = {"name": name, "description": name, "acp_url": acp_url, "acp_type": acp_type}
        answer = self.api.post("/agents/register", json=body)
        answer.raise_for_status()
        found: str = answer.json()["id"]
        return found

    def create(self, agent_id: str, **fields: Any) -> dict[str, Any]:
        """Create a schedule; `fields` as in the REST API, with an input by default."""
        fields.setdefault("initial_input", {"content": "hello"})
        answer = self.api.post(f"/agents/{agent_id}/schedules", json=fields)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def fires(self, schedule: dict[str, Any]) -> list[dict[str, Any]]:
        """The ledger of one schedule, newest first."""
        path = f"/agents/{schedule['agent_id']}/schedules/{schedule['id']}/fires"
        answer = self.api.get(path, params={"limit": 1000})
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["fires"]
        return found

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask Dagster what its pages show."""
        answer = self.ui.post("/graphql", json={"query": query, "variables": variables})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        assert "errors" not in found, found["errors"]
        data: dict[str, Any] = found["data"]
        return data

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Look into the ledger itself, with a connection of its own."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode()).fetchall()

    def kill(self, part: str) -> int:
        """SIGKILL one part; the supervisor starts it again. Returns the pid it had."""
        pid: int = json.loads((self.home / "run" / "parts.json").read_text())[part]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_run(self, timeout: float = 60.0) -> int:
        """SIGKILL the oldest live Dagster run, once there is one; the standby if it is alone."""
        query = (
            "select pid from dispatches join slices using (slice_key) where finished_at is null "
            "order by kind = 'now', started_at"
        )
        rows = self.wait_for(lambda: self.sql(query), timeout)
        os.kill(rows[0][0], signal.SIGKILL)
        return int(rows[0][0])

    def wait_for(self, look: Any, timeout: float = 60.0) -> Any:
        """What `look` returns, once that is true."""
        deadline = time.monotonic() + timeout
        while not (found := look()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so after {timeout:g} s; see {self.output}")
            time.sleep(0.25)
        return found

    def database_time(self) -> float:
        """The clock that decides, as seconds since the epoch."""
        return float(self.sql("select extract(epoch from statement_timestamp())")[0][0])


@contextmanager
def start_stack(
    directory: Path, *, variables: Mapping[str, str] | None = None, **settings: str
) -> Iterator[Stack]:
    """Start it below `directory`; `settings` are variables without their prefix, in lower case.

    With `database_url` among them PostgreSQL is the caller's, else the house runs its own.
    `variables`: what else every process finds in its environment.
    """
    home = directory / "home"
    output = directory / "dev.out"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SCHEDULES_")}
    # Every end-to-end test passes with warm runs and without.
    environment["SCHEDULES_WARM_RUNS"] = os.environ.get("SCHEDULES_WARM_RUNS", "true")
    environment |= {f"SCHEDULES_{name.upper()}": value for name, value in settings.items()}
    environment |= variables or {}
    database_url = settings.get("database_url") or EmbeddedPostgres(home / "postgres").url
    ports = ["--api-port", "0", "--ui-port", "0"]
    command = [sys.executable, "-m", "schedules_pipeline.cli", "dev", "--home", str(home), *ports]
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--no-demo"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        api, ui = _addresses(output, process)
        with (
            httpx.Client(base_url=api, timeout=30) as client,
            httpx.Client(base_url=ui, timeout=60) as page,
        ):
            yield Stack(home, process, output, client, page, database_url)
    finally:
        _stop(process)


def _addresses(output: Path, process: subprocess.Popen[bytes]) -> tuple[str, str]:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = dict(re.findall(r"(REST API|Dagster UI)\s+(http://\S+)", output.read_text()))
        if len(found) == 2:
            return found["REST API"], found["Dagster UI"]
        time.sleep(0.2)
    raise RuntimeError(f"The stack did not come up:\n{output.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # The next `schedules dev` would clean up; here nobody comes after us.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
