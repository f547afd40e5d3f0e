"""Dagster's way to start a run, replaced: a run parent forks it. Named in dagster.yaml.

It stands on these parts of Dagster that are not public, held by tests/launcher/test_dagster.py:
`DefaultRunLauncher` (how it launches and terminates, and that it can be extended), `ExecuteRunArgs`
(what a run's process is told) and `_execute_run_command_body` (what such a process does).
"""

import signal

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value

from schedules_pipeline.errors import NoWarmProcess
from schedules_pipeline.launcher.handover import WORKER_TAG, handover
from schedules_pipeline.launcher.working import end, worker_of
from schedules_pipeline.settings import Settings


class WarmRunLauncher(DefaultRunLauncher):
    """Asks the run parent at `SCHEDULES_WARM_SOCKET`; where there is none, starts a run cold."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._socket = Settings.load().warm_socket

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start it, warm if that can be."""
        if self._socket is None:
            super().launch_run(context)
            return
        run = context.dagster_run
        try:
            with handover(self._socket) as handing:
                worker = handing.ask(self._told(run))
                self._instance.add_run_tags(run.run_id, {WORKER_TAG: worker.text()})
                handing.go()
        except NoWarmProcess as reason:
            self._instance.report_engine_event(
                f"Started cold, which takes seconds: {reason}.", run, cls=type(self)
            )
            super().launch_run(context)

    def _told(self, run: dg.DagsterRun) -> str:
        assert run.job_code_origin is not None
        return serialize_value(
            ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref())
        )

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run's process; where there is none left, the run is cancelled as it is."""
        run = self._instance.get_run_by_id(run_id)
        worker = worker_of(run)
        if run is None or worker is None or run.is_finished:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if worker.is_elsewhere:
            self._instance.report_engine_event(
                f"Terminate it on the machine where its process is: {worker.host}.", run
            )
            return False
        self._instance.report_run_canceling(run)
        if not worker.identity.kill(signal.SIGINT):
            end(self._instance, run_id, "The run's process was gone already.")
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """So run monitoring finds a dead run whose parent, which would have told, died first."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process lives. Of a run that was started cold nothing is known."""
        worker = worker_of(run)
        if worker is None or worker.is_elsewhere or worker.identity.is_alive():
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"The run's process (pid {worker.identity.pid}) is gone."
        )
