"""Dagster runs that are forked, in the real house: its clock, its daemon, its UI."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schedules_pipeline.launcher.identity import HAS_PROC, Identity, identify
from tests.agents import RunningAgent
from tests.stack import Stack, start_stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not HAS_PROC, reason="runs are forked on Linux only"),
]

RUN = """
    query ($run: ID!) { runOrError(runId: $run) { ... on Run {
      status } } }
"""
MESSAGES = """
    query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection {
      events { ... on MessageEvent { message } } } } }
"""
TERMINATE = """
    mutation ($run: String!) { terminateRun(runId: $run) { __typename } }
"""
REEXECUTE = """
    mutation ($run: String!) {
      launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) {
        ... on LaunchRunSuccess { run { runId } } } }
"""


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    with start_stack(folder, warm_runs="true") as running:
        yield running


@pytest.fixture(scope="module")
def schedule(stack: Stack, agent: RunningAgent) -> dict[str, Any]:
    """One that keeps a run up."""
    return stack.create(stack.register("busy", agent.url), name="busy", interval_seconds=2)


def test_the_clocks_runs_are_forked_and_the_ledger_names_their_processes(
    stack: Stack, schedule: dict[str, Any]
) -> None:
    run = _live_run(stack)
    pid = _process(stack, run).pid

    assert _parent_of(pid) == _part(stack, "run parent").pid
    assert os.getpgid(pid) == os.getsid(pid) == pid


def test_terminate_in_the_ui_cancels_the_run_and_what_it_had_not_sent(
    stack: Stack, schedule: dict[str, Any]
) -> None:
    run = _live_run(stack)
    answer = stack.graphql(TERMINATE, run=run)["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess"

    assert stack.wait_for(lambda: _end_of(stack, run), timeout=30) == "CANCELED"
    cancelled = (
        "select f.id from fires f join dispatches d using (slice_key) "
        f"where d.dagster_run_id = '{run}' and f.reason = 'run_cancelled'"
    )
    assert stack.wait_for(lambda: stack.sql(cancelled), timeout=30)


def test_a_killed_run_is_red_at_once(stack: Stack, schedule: dict[str, Any]) -> None:
    run = _live_run(stack)
    _process(stack, run).kill(signal.SIGKILL)

    assert stack.wait_for(lambda: _end_of(stack, run), timeout=10) == "FAILURE"
    assert "SIGKILL" in _log(stack, run)


def test_without_its_parent_a_run_goes_on_and_others_start_cold_until_there_is_another(
    stack: Stack, schedule: dict[str, Any]
) -> None:
    ended = stack.wait_for(lambda: _ended_run(stack), timeout=150)
    run = _live_run(stack)
    process = _process(stack, run)
    parent = _part(stack, "run parent")
    stack.kill("run parent")
    cold = stack.graphql(REEXECUTE, run=ended)["launchRunReexecution"]["run"]["runId"]

    assert stack.wait_for(lambda: _end_of(stack, cold), timeout=60) == "SUCCESS"
    assert "Started cold, which takes seconds: no run parent listens at" in _log(stack, cold)
    assert process.is_alive() or _end_of(stack, run) == "SUCCESS"
    stack.wait_for(lambda: "run parent    restarted" in stack.output.read_text(), timeout=10)
    assert _part(stack, "run parent") != parent
    assert stack.wait_for(lambda: _end_of(stack, run), timeout=120) == "SUCCESS"

    stack.wait_for(
        lambda: _parent_of(_process(stack, _live_run(stack)).pid) == _part(stack, "run parent").pid,
        timeout=120,
    )


def _live_run(stack: Stack) -> str:
    """A run whose heart has beaten, with most of its minute ahead."""
    query = """
        select dagster_run_id from dispatches join slices using (slice_key)
        where finished_at is null and starts_at > statement_timestamp() - interval '30 seconds'
        and heartbeat_at > statement_timestamp() - interval '12 seconds' order by starts_at limit 1
    """
    found: str = stack.wait_for(lambda: stack.sql(query), timeout=150)[0][0]
    return found


def _ended_run(stack: Stack) -> str | None:
    """One whose slice is settled and which ended well."""
    rows = stack.sql(
        "select dagster_run_id from dispatches join slices using (slice_key) "
        "where settled_at is not null and finished_at is not null"
    )
    return next((run for (run,) in rows if _end_of(stack, run) == "SUCCESS"), None)


def _process(stack: Stack, run: str) -> Identity:
    """The run's, as its dispatch names it."""
    ((pid,),) = stack.sql(f"select pid from dispatches where dagster_run_id = '{run}'")
    found = identify(pid)
    assert found is not None
    return found


def _run(stack: Stack, run: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.graphql(RUN, run=run)["runOrError"]
    return found


def _end_of(stack: Stack, run: str) -> str | None:
    status: str = _run(stack, run)["status"]
    return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None


def _log(stack: Stack, run: str) -> str:
    events = stack.graphql(MESSAGES, run=run)["logsForRun"]["events"]
    return "\n".join(event.get("message") or "" for event in events)


def _part(stack: Stack, name: str) -> Identity:
    record = json.loads((stack.home / "run" / "parts.json").read_text())[name]
    return Identity(record["pid"], record["born"])


def _parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])
