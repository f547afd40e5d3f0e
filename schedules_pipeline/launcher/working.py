"""What a forked process does with its run, and how a run ends whose process died."""

import socket
import time

import dagster as dg
from dagster._cli.api import _execute_run_command_body
from dagster._core.instance import InstanceRef
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value
from dagster._utils import get_run_crash_explanation
from dagster._utils.interrupts import capture_interrupts

from schedules_pipeline.launcher.handover import GO, WORKER_TAG, Worker, read_line
from schedules_pipeline.launcher.output import uncopied

# For as long as the database is away; then Dagster's run monitoring finds the dead run.
REPORT_ATTEMPTS = 300
REPORT_WAIT_SECONDS = 1.0


def work(connection: socket.socket, line: str) -> None:
    """Say who we are; told to go, execute the run. As `dagster api execute_run` does it.

    Errors: whatever keeps the run from being executed. What goes wrong in the run itself stands in
    its log, and is none.
    """
    # From the first moment: a person's *Terminate* is a signal, and must not just kill us.
    with capture_interrupts():
        arguments = deserialize_value(line, ExecuteRunArgs)
        connection.sendall(Worker.myself(arguments.run_id).text().encode() + b"\n")
        with _instance(arguments) as instance:
            told = read_line(connection)
            connection.close()
            if told.encode() != GO:
                return
            _execute_run_command_body(
                arguments.run_id, instance, lambda _event: None, set_exit_code_on_failure=False
            )
            end(instance, arguments.run_id, "The run's process ended without an end of the run.")


def report_death(line: str, pid: int, exit_code: int) -> None:
    """End the run that this process worked, in Dagster's books.

    Only if its tag names the process: one that never was told to go has no run to end.
    """
    arguments = deserialize_value(line, ExecuteRunArgs)
    explanation = get_run_crash_explanation("The run's process", exit_code)
    for _ in range(REPORT_ATTEMPTS):
        try:
            with _instance(arguments) as instance:
                worker = worker_of(instance.get_run_by_id(arguments.run_id))
                if worker and worker.identity.pid == pid:
                    end(instance, arguments.run_id, explanation)
            return
        except Exception as error:  # whatever a driver raises when its server is away
            print(f"run {arguments.run_id} cannot be reported yet: {error}", flush=True)  # noqa: T201  # its log
            time.sleep(REPORT_WAIT_SECONDS)


def worker_of(run: dg.DagsterRun | None) -> Worker | None:
    """The forked process that works this run; None when it was started in another way."""
    if run is None:
        return None
    try:
        worker = Worker.parse(run.tags[WORKER_TAG])
    except (KeyError, ValueError):
        return None
    # Executed again, a run has its parent's tag until it has one of its own.
    return worker if worker.run_id == run.run_id else None


def end(instance: dg.DagsterInstance, run_id: str, why: str) -> None:
    """A run whose process is over is over: cancelled if a person wanted that, else failed."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, why)
    else:
        instance.report_run_failed(run, why)


def _instance(arguments: ExecuteRunArgs) -> dg.DagsterInstance:
    assert isinstance(arguments.instance_ref, InstanceRef)
    return dg.DagsterInstance.from_ref(uncopied(arguments.instance_ref))
