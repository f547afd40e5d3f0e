"""Runs that a real run parent forks, in the books of a real instance."""

import logging
import os
import signal
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from bench.usage import descendants
from schedules_pipeline.errors import NoWarmProcess
from schedules_pipeline.launcher import handover as handover_module
from schedules_pipeline.launcher.handover import WORKER_TAG, Worker, handover
from schedules_pipeline.launcher.identity import HAS_PROC, Identity
from tests.launcher.stage import Parent, Stage, start_parent, wait_for

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="runs are forked on Linux only")


def test_a_run_is_worked_by_a_process_that_the_parent_forked_for_it_alone(
    stage: Stage, parent: Parent
) -> None:
    run = stage.launch("telling")
    told = stage.began(run)

    assert stage.end_of(run) == "SUCCESS"
    assert told["parent"] == parent.process.pid
    assert told["pid"] == told["session"] == stage.worker(run).identity.pid
    assert "cold" not in stage.log(run)


def test_what_it_prints_is_in_its_compute_logs(stage: Stage, parent: Parent) -> None:
    run = stage.launch("telling")
    assert stage.end_of(run) == "SUCCESS"
    manager = stage.instance.compute_log_manager
    (captured,) = [
        entry.dagster_event.logs_captured_data
        for entry in stage.instance.all_logs(run.run_id)
        if entry.dagster_event
        and entry.dagster_event.event_type is dg.DagsterEventType.LOGS_CAPTURED
    ]
    key = manager.build_log_key_for_run(run.run_id, captured.file_key)

    shown = manager.get_log_data(key)

    assert shown.stdout
    assert b"said on stdout" in shown.stdout
    assert shown.stderr
    assert b"said on stderr" in shown.stderr


def test_its_output_is_copied_by_no_process_of_its_own(stage: Stage, parent: Parent) -> None:
    run = stage.launch("waiting")
    pid = stage.began(run)["pid"]

    assert descendants(pid) == [pid]

    stage.let_end(run)
    assert stage.end_of(run) == "SUCCESS"


def test_two_runs_share_neither_chance_nor_threads_nor_names(stage: Stage, parent: Parent) -> None:
    told = [stage.began(stage.launch("telling")) for _ in range(2)]

    for name in ("pid", "random", "uuid"):
        assert told[0][name] != told[1][name], name
    assert [each["threads"] for each in told] == [["MainThread"]] * 2


def test_a_terminated_run_is_cancelled(stage: Stage, parent: Parent) -> None:
    run = stage.launch("waiting")
    stage.began(run)

    assert stage.launcher.terminate(run.run_id)

    assert stage.end_of(run) == "CANCELED"
    assert not stage.launcher.terminate(run.run_id), "there is nothing left to terminate"


def test_a_run_that_is_terminated_before_it_began_is_cancelled_and_does_nothing(
    stage: Stage, parent: Parent
) -> None:
    run = stage.new("waiting")
    with handover(stage.socket) as handing:
        worker = handing.ask(stage.launcher._told(run))
        stage.instance.add_run_tags(run.run_id, {WORKER_TAG: worker.text()})
        assert stage.launcher.terminate(run.run_id)
        handing.go()

    assert stage.end_of(run) == "CANCELED"
    assert "STEP_START" not in {
        entry.dagster_event.event_type_value
        for entry in stage.instance.all_logs(run.run_id)
        if entry.dagster_event
    }


def test_a_killed_run_has_failed_at_once_and_says_by_what(stage: Stage, parent: Parent) -> None:
    run = stage.launch("waiting")
    stage.began(run)
    stage.kill(run)

    assert stage.end_of(run, seconds=10) == "FAILURE"
    assert "SIGKILL" in stage.log(run)


def test_a_run_that_is_killed_while_it_is_being_terminated_is_cancelled(
    stage: Stage, parent: Parent
) -> None:
    run = stage.launch("waiting")
    stage.began(run)
    stage.instance.report_run_canceling(stage.reload(run))
    stage.kill(run)

    assert stage.end_of(run, seconds=10) == "CANCELED"


def test_runs_outlive_their_parent_and_another_parent_starts_others(
    stage: Stage, parent: Parent, parents: list[Parent]
) -> None:
    old = stage.launch("waiting")
    stage.began(old)
    parent.kill()
    parents.append(start_parent(stage.socket, stage.folder))
    new = stage.launch("telling")

    assert stage.end_of(new) == "SUCCESS"
    assert stage.launcher.check_run_worker_health(stage.reload(old)).status is WorkerStatus.RUNNING
    stage.let_end(old)
    assert stage.end_of(old) == "SUCCESS"


@pytest.fixture(scope="module")
def orphans(stage: Stage, parents: list[Parent]) -> list[dg.DagsterRun]:
    """Two runs that died after their parent, so that nobody told."""
    parents.append(start_parent(stage.socket, stage.folder))
    runs = [stage.launch("waiting") for _ in range(2)]
    for run in runs:
        stage.began(run)
    parents[-1].kill()
    for run in runs:
        stage.kill(run)
    wait_for(lambda: not any(stage.worker(run).identity.is_alive() for run in runs))
    return runs


def test_run_monitoring_fails_a_run_that_died_after_its_parent(
    stage: Stage, orphans: list[dg.DagsterRun]
) -> None:
    run = orphans[0]
    (record,) = stage.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    monitor_started_run(stage.instance, None, record, logging.getLogger())  # type: ignore[arg-type]

    assert stage.reload(run).status is dg.DagsterRunStatus.FAILURE
    assert "is gone" in stage.log(run)


def test_terminating_a_run_that_died_after_its_parent_cancels_it(
    stage: Stage, orphans: list[dg.DagsterRun]
) -> None:
    run = orphans[1]

    assert stage.launcher.terminate(run.run_id)

    assert stage.reload(run).status is dg.DagsterRunStatus.CANCELED


def test_a_process_that_was_given_the_pid_of_a_dead_run_is_not_taken_for_it(stage: Stage) -> None:
    run = stage.new("waiting")
    mine = Worker.myself(run.run_id)
    other = Worker(run.run_id, mine.host, Identity(os.getpid(), "another boot/1"))
    stage.instance.add_run_tags(run.run_id, {WORKER_TAG: other.text()})

    health = stage.launcher.check_run_worker_health(stage.reload(run))

    assert health.status is WorkerStatus.FAILED


@pytest.mark.parametrize("tag", ["another run", "another machine", "no worker at all", None])
def test_of_a_run_that_nobody_here_forked_nothing_is_known_so_it_is_left_alone(
    stage: Stage, tag: str | None
) -> None:
    run = stage.new("waiting")
    dead = Identity(os.getpid(), "another boot/1")
    tags = {
        "another run": Worker("its parent", Worker.myself("").host, dead).text(),
        "another machine": Worker(run.run_id, "elsewhere", dead).text(),
        "no worker at all": '{"pid": 1}',
    }
    if tag:
        stage.instance.add_run_tags(run.run_id, {WORKER_TAG: tags[tag]})

    health = stage.launcher.check_run_worker_health(stage.reload(run))

    assert health.status is WorkerStatus.RUNNING


def test_a_run_of_another_machine_is_not_terminated_from_here_and_its_log_says_where(
    stage: Stage,
) -> None:
    run = stage.new("waiting")
    elsewhere = Worker(run.run_id, "elsewhere", Identity(os.getpid(), "another boot/1"))
    stage.instance.add_run_tags(run.run_id, {WORKER_TAG: elsewhere.text()})

    assert not stage.launcher.terminate(run.run_id)

    assert "Terminate it on the machine where its process is: elsewhere." in stage.log(run)
    assert stage.reload(run).status is dg.DagsterRunStatus.NOT_STARTED


@pytest.fixture
def started_cold(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that Dagster's own launcher was asked for; it would need a code server."""
    found: list[str] = []
    monkeypatch.setattr(
        DefaultRunLauncher,
        "launch_run",
        lambda _self, context: found.append(context.dagster_run.run_id),
    )
    return found


def test_where_the_parent_hangs_a_run_starts_cold_and_no_second_time_when_it_wakes(
    stage: Stage, parent: Parent, started_cold: list[str]
) -> None:
    parent.process.send_signal(signal.SIGSTOP)
    run = stage.launch("telling")
    parent.process.send_signal(signal.SIGCONT)

    assert started_cold == [run.run_id]
    assert "the run parent gives no answer" in stage.log(run)
    # It answers one after another: when it has answered this one, it has come to the first.
    wait_for(lambda: _answers(stage))
    wait_for(lambda: not parent.children)
    assert stage.reload(run).status is dg.DagsterRunStatus.STARTING


STILL_IMPORTING = """
import time
from schedules_pipeline.launcher import parent
everything = parent.import_everything
def slowly(listener):
    parent.say("importing")
    time.sleep(1)
    everything(listener)
parent.import_everything = slowly
parent.main()
"""


def test_a_run_waits_for_a_parent_that_is_still_importing(
    stage: Stage, no_parent: Path, started_cold: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover_module, "ANSWER_SECONDS", 60.0)
    starting = start_parent(no_parent, stage.folder, ("-c", STILL_IMPORTING), until="importing")
    try:
        run = stage.launch("telling")

        assert started_cold == []
        assert stage.began(run)["parent"] == starting.process.pid
        assert stage.end_of(run) == "SUCCESS"
    finally:
        starting.kill()


def test_a_parent_that_dies_over_its_imports_keeps_nobody_waiting(
    stage: Stage, no_parent: Path
) -> None:
    starting = start_parent(no_parent, stage.folder, ("-c", STILL_IMPORTING), until="importing")
    with handover(no_parent) as handing:
        starting.kill()

        with pytest.raises(NoWarmProcess, match=r"gives no answer|is gone"):
            handing.ask("a run")


def test_where_no_parent_listens_a_run_starts_cold_and_its_log_says_why(
    stage: Stage, no_parent: Path, started_cold: list[str]
) -> None:
    run = stage.launch("telling")

    assert started_cold == [run.run_id]
    assert f"Started cold, which takes seconds: no run parent listens at {no_parent}" in stage.log(
        run
    )
    assert WORKER_TAG not in stage.reload(run).tags


def test_where_the_machine_refuses_to_fork_a_run_starts_cold(
    stage: Stage, no_parent: Path, started_cold: list[str]
) -> None:
    refusing = (
        "import errno, os\n"
        "def fork(): raise BlockingIOError(errno.EAGAIN, 'no more processes')\n"
        "os.fork = fork\n"
        "from schedules_pipeline.launcher import parent\n"
        "parent.main()\n"
    )
    refused = start_parent(no_parent, stage.folder, ("-c", refusing))
    try:
        run = stage.launch("telling")

        assert started_cold == [run.run_id]
        assert "the machine refuses to fork (no more processes)" in stage.log(run)
    finally:
        refused.kill()


def test_with_warm_runs_switched_off_a_run_starts_as_dagster_does_it_and_nothing_is_said(
    stage: Stage, started_cold: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.launcher, "_socket", None)
    run = stage.launch("telling")

    assert started_cold == [run.run_id]
    assert "cold" not in stage.log(run)


def _answers(stage: Stage) -> bool:
    try:
        with handover(stage.socket) as handing:
            handing.ask(stage.launcher._told(stage.new("telling")))
    except NoWarmProcess:
        return False
    return True
