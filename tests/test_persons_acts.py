"""What a person does in the Dagster UI, through its own GraphQL, against the real house."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.agents import RunningAgent
from tests.clicks import end_of_backfill, launch_backfill, missing_partitions
from tests.stack import Stack, start_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

REEXECUTE = """
    mutation ($parent: String!, $strategy: ReexecutionStrategy!) {
      launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: $strategy}) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message } } }
"""
RUN = """
    query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }
"""
RUNS_OF = """
    query ($tags: [ExecutionTag!]) {
      runsOrError(filter: {tags: $tags, statuses: [SUCCESS, FAILURE]}) {
        ... on Runs { results { runId status } } } }
"""


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    """Short waits between attempts. Without a standby: what is clicked on is a minute's run, which
    is soon over."""
    with start_stack(folder, retry_wait_seconds="0.1", standby="false") as running:
        yield running


def test_each_click_delivers_exactly_what_failed_once_under_a_key_of_its_own(
    stack: Stack, agent: RunningAgent
) -> None:
    broken = {"name": "broken", "acp_url": agent.url_for("error500"), "acp_type": "async"}
    agent_id = stack.register(**broken)
    # A schedule each: of one schedule's, a run that is late could skip the second as overlap.
    at = datetime.fromtimestamp(int(stack.database_time()), UTC)
    schedules = [
        stack.create(agent_id, name=f"at-{s}", fire_at=(at + timedelta(seconds=s)).isoformat())
        for s in (5, 10, 15)
    ]
    first = stack.wait_for(lambda: _settled(stack, schedules, "failed"), timeout=150)
    slices = sorted({key for _, key in first})
    red = _last_run(stack, slices[0])
    assert red["status"] == "FAILURE"
    stack.register("broken", agent.url)

    again = _reexecute(stack, red["runId"], "FROM_FAILURE")
    assert again == "SUCCESS"
    assert _keys(agent) == {f"{fire}#r1": 1 for fire, key in first if key == slices[0]}
    assert _reexecute(stack, red["runId"], "ALL_STEPS") == "SUCCESS"
    # What was delivered a moment ago is among it, and stays as it is.
    assert _backfill(stack, slices) == "COMPLETED_SUCCESS"
    assert _keys(agent) == {f"{fire}#r1": 1 for fire, _ in first}
    states = {fire["state"] for schedule in schedules for fire in stack.fires(schedule)}
    assert states == {"delivered"}


def test_hours_that_the_clock_missed_show_as_missing_and_a_backfill_delivers_them_once(
    stack: Stack, agent: RunningAgent
) -> None:
    agent_id = stack.register("outage", agent.url)
    schedule = stack.create(agent_id, name="quarterly", interval_seconds=900)
    now = int(stack.database_time())
    hour = datetime.fromtimestamp(now - now % 3600 - 2 * 3600, UTC)
    # As an outage of two hours leaves it: a clock that stands at an occurrence long past.
    stack.sql(
        f"update schedule_clock set next_nominal_at = '{hour}', next_due_at = '{hour}' "
        f"where schedule_id = '{schedule['id']}' returning 1"
    )
    keys = [f"{hour + timedelta(hours=n):%Y-%m-%dT%H:%M:%SZ}/missed" for n in range(2)]
    stack.wait_for(lambda: set(keys) <= set(missing_partitions(stack)), timeout=60)

    assert _backfill(stack, keys) == "COMPLETED_SUCCESS"
    expected = {f"{hour + timedelta(minutes=15 * n):%Y-%m-%dT%H:%M:%SZ}": 1 for n in range(8)}
    assert _missed_times(agent, schedule, before=hour + timedelta(hours=2)) == expected
    assert _backfill(stack, keys) == "COMPLETED_SUCCESS"
    assert _missed_times(agent, schedule, before=hour + timedelta(hours=2)) == expected
    assert not set(keys) & set(missing_partitions(stack))


def _missed_times(
    agent: RunningAgent, schedule: dict[str, Any], before: datetime
) -> dict[str, int]:
    """How often the agent received the input of each of the schedule's occurrences before that."""
    times = Counter(
        request["task_metadata"]["fire_time"]
        for request in agent.received("event/send")
        if request["task_metadata"]["schedule_id"] == schedule["id"]
    )
    return {time: n for time, n in times.items() if datetime.fromisoformat(time) < before}


def _settled(stack: Stack, schedules: list[dict[str, Any]], state: str) -> list[tuple[str, str]]:
    """(fire, slice) of each schedule's one fire, once all are in that state and settled slices."""
    ids = ", ".join(f"'{schedule['id']}'" for schedule in schedules)
    rows = stack.sql(
        "select f.id, f.slice_key, f.state, s.settled_at from fires f join slices s "
        f"using (slice_key) where f.schedule_id in ({ids}) order by 1"
    )
    ended = all(row[2] == state and row[3] is not None for row in rows)
    if len(rows) < len(schedules) or not ended:
        return []
    if any(_last_run(stack, row[1]) is None for row in rows):
        return []
    return [(row[0], row[1]) for row in rows]


def _keys(agent: RunningAgent) -> dict[str, int]:
    """How often each input was received by the agent that was mended."""
    return dict(
        Counter(
            request["idempotency_key"]
            for request in agent.received("event/send")
            if request["mode"] != "error500"
            and request["task_metadata"]["display_name"].startswith("at-")
        )
    )


def _last_run(stack: Stack, slice_key: str) -> Any:
    tags = [{"key": "dagster/partition", "value": slice_key}]
    runs = stack.graphql(RUNS_OF, tags=tags)["runsOrError"]["results"]
    return runs[0] if runs else None


def _reexecute(stack: Stack, run_id: str, strategy: str) -> str:
    answer = stack.graphql(REEXECUTE, parent=run_id, strategy=strategy)["launchRunReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return _end_of(stack, answer["run"]["runId"])


def _end_of(stack: Stack, run_id: str) -> str:
    def look() -> str | None:
        status: str = stack.graphql(RUN, run=run_id)["runOrError"]["status"]
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    found: str = stack.wait_for(look, timeout=90)
    return found


def _backfill(stack: Stack, keys: list[str]) -> str:
    return end_of_backfill(stack, launch_backfill(stack, keys))
