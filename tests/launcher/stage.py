"""A real Dagster instance on PostgreSQL and a real run parent, without daemon and webserver."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository

from schedules_pipeline.launcher.handover import WORKER_TAG, Worker
from schedules_pipeline.launcher.identity import PROC
from schedules_pipeline.launcher.warm import WarmRunLauncher
from tests.launcher import jobs
from tests.launcher.jobs import report_of

T = TypeVar("T")

PARENT = ("-m", "schedules_pipeline.launcher.parent")
WAIT_SECONDS = 120.0


def wait_for(look: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
    """What `look` returns, once that is true."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"not so after {seconds:g} s"
        time.sleep(0.02)
    return found


@dataclass
class Parent:
    """A run parent's process."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All it has written so far, and what it forked."""
        return self.log.read_text()

    @property
    def children(self) -> list[int]:
        """The processes that it forked and that are not gone."""
        pid = self.process.pid
        return [int(each) for each in (PROC / f"{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> None:
        """SIGKILL it alone."""
        self.process.kill()
        self.process.wait()


def start_parent(
    socket: Path, folder: Path, command: tuple[str, ...] = PARENT, until: str = "ready"
) -> Parent:
    """Start one; returns when it has said that it is this far."""
    log = folder / "parent.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, *command, str(socket)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    parent = Parent(process, log)
    said = f"run parent {process.pid}: {until}"

    def is_ready() -> bool:
        assert process.poll() is None, parent.said
        return said in parent.said

    wait_for(is_ready)
    return parent


@dataclass(frozen=True)
class Stage:
    """An instance whose launcher asks at `socket`."""

    instance: dg.DagsterInstance
    folder: Path
    socket: Path

    @property
    def launcher(self) -> WarmRunLauncher:
        """As Dagster made it from dagster.yaml."""
        found = self.instance.run_launcher
        assert isinstance(found, WarmRunLauncher)
        return found

    def new(self, name: str, **tags: str) -> dg.DagsterRun:
        """A run that nobody has launched yet."""
        job = jobs.defs.resolve_job_def(name)
        repository = ReconstructableRepository.for_module("tests.launcher.jobs", "defs")
        origin = repository.get_reconstructable_job(name).get_python_origin()
        return self.instance.create_run_for_job(
            job, job_code_origin=origin, tags={"test/folder": str(self.folder), **tags}
        )

    def launch(self, name: str) -> dg.DagsterRun:
        """A run that was launched by Dagster's own call."""
        return self.instance.launch_run(self.new(name).run_id, None)  # type: ignore[arg-type]

    def began(self, run: dg.DagsterRun) -> dict[str, Any]:
        """What its op wrote, once it did."""
        file = report_of(run)

        def look() -> dict[str, Any] | None:
            text = file.read_text() if file.exists() else ""
            return json.loads(text) if text else None

        return wait_for(look)

    def let_end(self, run: dg.DagsterRun) -> None:
        """A waiting run's op may return."""
        report_of(run).with_suffix(".done").touch()

    def end_of(self, run: dg.DagsterRun, seconds: float = WAIT_SECONDS) -> str:
        """Its last status."""

        def look() -> str | None:
            found = self.reload(run)
            return found.status.value if found.is_finished else None

        return wait_for(look, seconds)

    def reload(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """As it stands in the books now."""
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found

    def worker(self, run: dg.DagsterRun) -> Worker:
        """The process that its tag names."""
        return Worker.parse(self.reload(run).tags[WORKER_TAG])

    def log(self, run: dg.DagsterRun) -> str:
        """All messages of its log."""
        return "\n".join(
            entry.message or entry.user_message for entry in self.instance.all_logs(run.run_id)
        )

    def kill(self, run: dg.DagsterRun) -> None:
        """SIGKILL its process."""
        os.kill(self.worker(run).identity.pid, signal.SIGKILL)
