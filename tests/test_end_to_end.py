"""The real daemon, code server, webserver, REST API and agents; what counts is what agents got."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.agents import RunningAgent
from tests.stack import Stack, start_stack

MODES = {"hang": "timeout", "garbage": "bad_reply", "error500": "agent_error"}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    """Short waits between attempts: what is tested is that the fifth is the last."""
    with start_stack(folder, request_timeout_seconds="1", retry_wait_seconds="0.1") as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def schedules(stack: Stack, agent: RunningAgent) -> dict[str, dict[str, Any]]:
    """All at once, so that the tests' waits overlap."""
    found = {
        "report": stack.create(
            stack.register("clerk", agent.url),
            name="every-ten",
            interval_seconds=10,
            initial_input={"content": "Write the report"},
            task_params={"depth": 3},
            task_metadata={"team": "sales", "schedule_id": "spoofed"},
        ),
        "minutely": stack.create(
            stack.register("shown", agent.url, "sync"),
            name="minutely",
            cron_expression="* * * * *",
        ),
        "good": stack.create(stack.register("good", agent.url), name="good", interval_seconds=20),
        "down": stack.create(
            stack.register("bad-down", "http://127.0.0.1:9"), name="down", interval_seconds=20
        ),
    }
    for mode in MODES:
        agent_id = stack.register(f"bad-{mode}", agent.url_for(mode))
        found[mode] = stack.create(agent_id, name=mode, interval_seconds=20)
    return found


def test_a_schedule_made_over_http_reaches_its_agent_once_per_occurrence_on_time(
    stack: Stack, agent: RunningAgent, schedules: dict[str, dict[str, Any]]
) -> None:
    schedule = schedules["report"]
    seen = _inputs_after(stack, agent, schedule, due_after=_armed_from(stack) - 1, count=4)
    for request in seen:
        nominal = datetime.fromisoformat(request["task_metadata"]["fire_time"])
        assert nominal.timestamp() % 10 == 0
        assert 0 <= request["at"] - nominal.timestamp() <= 1
        fire_id = f"agent-run-schedule:{schedule['id']}-run-{nominal:%Y-%m-%dT%H:%M:%SZ}"
        assert request["task_name"] == f"scheduled-run:{schedule['id']}:{fire_id}"
        assert request["idempotency_key"] == fire_id
        assert request["content"] == "Write the report"
        assert request["task_metadata"] == {
            "display_name": "every-ten",
            "team": "sales",
            "schedule_id": schedule["id"],
            "scheduled_fire_id": fire_id,
            "trigger_type": "scheduled",
            "fire_time": f"{nominal:%Y-%m-%dT%H:%M:%SZ}",
            "idempotency_key": fire_id,
        }
    times = Counter(r["idempotency_key"] for r in _inputs(agent, schedule))
    assert set(times.values()) == {1}
    nominals = sorted(datetime.fromisoformat(r["task_metadata"]["fire_time"]) for r in seen)
    steps = {(b - a).total_seconds() for a, b in pairwise(nominals)}
    assert steps == {10.0}, "no occurrence is left out"


def test_dagster_shows_the_run_its_partition_and_what_became_of_each_fire(
    stack: Stack, schedules: dict[str, dict[str, Any]]
) -> None:
    # A synchronous agent's fires have a slice of their own: no bad agent's failures are in it.
    schedule = schedules["minutely"]
    run = stack.wait_for(lambda: _ended_run_of(stack, schedule), timeout=150)
    assert run["status"] == "SUCCESS"
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert tags["dagster/partition"] == tags["dagster/run_key"] == _recorded(stack, schedule)[0]
    assert (tags["schedules/slice_kind"], tags["schedules/agent"]) == ("sync", "shown")
    path = ["agent_runs", "shown", f"minutely-{schedule['id'][:8]}"]
    event = _latest_materialization(stack, path)
    assert event["partition"] == tags["dagster/partition"]
    shown = {entry["label"]: entry for entry in event["metadataEntries"]}
    assert shown["state"]["text"] == "delivered"
    assert shown["schedule_id"]["text"] == schedule["id"]
    assert shown["attempts"]["intValue"] == 1
    assert shown["reply_excerpt"]["text"]
    assert 0 <= shown["lateness_seconds"]["floatValue"] < 60


def test_a_bad_agent_fails_with_its_reason_and_disturbs_nobody(
    stack: Stack, agent: RunningAgent, schedules: dict[str, dict[str, Any]]
) -> None:
    good = schedules["good"]
    armed_from = _armed_from(stack) - 1
    _inputs_after(stack, agent, good, due_after=armed_from, count=2)
    for mode, reason in MODES.items():
        fire = stack.wait_for(lambda mode=mode: _failed(stack, schedules[mode]), timeout=60)
        assert (fire["reason"], fire["attempts"]) == (reason, 5)
        assert fire["error"]
    refused = stack.wait_for(lambda: _failed(stack, schedules["down"]), timeout=60)
    assert refused["reason"] == "unreachable"
    for request in _inputs(agent, good):
        due = datetime.fromisoformat(request["task_metadata"]["fire_time"]).timestamp()
        if due > armed_from:
            assert request["at"] - due <= 1, "the good agent got its input on time"
    run = stack.wait_for(lambda: _ended_run_of(stack, schedules["garbage"]), timeout=150)
    assert run["status"] == "FAILURE"
    assert "bad-garbage/garbage" in _failure_text(stack, run["runId"])


def test_a_killed_run_loses_nothing_and_repeats_nothing_unmarked(
    stack: Stack, agent: RunningAgent
) -> None:
    schedule = stack.create(stack.register("survivor", agent.url), name="two", interval_seconds=2)
    first = stack.database_time()
    stack.wait_for(lambda: len(_inputs(agent, schedule)) >= 2, timeout=60)
    stack.kill_run()
    killed_at = stack.database_time()
    stack.wait_for(lambda: any(r["at"] > killed_at for r in _inputs(agent, schedule)), timeout=60)
    until = stack.database_time()
    stack.wait_for(lambda: not _unfinished(stack, schedule, until), timeout=60)
    fires = [f for f in stack.fires(schedule) if _epoch(f["due_at"]) <= until]
    assert {f["state"] for f in fires} == {"delivered"}
    nominals = sorted(_epoch(f["nominal_at"]) for f in fires)
    assert nominals[0] <= first + 4
    assert nominals == [nominals[0] + 2 * i for i in range(len(nominals))], "no hole"
    got = Counter(r["idempotency_key"] for r in _inputs(agent, schedule))
    doubtful = {f["id"] for f in fires if f["possible_duplicate"]}
    assert {f["id"] for f in fires} <= set(got)
    assert {key for key, times in got.items() if times > 1} <= doubtful


def test_a_trigger_is_the_standbys_and_a_killed_standby_is_replaced(
    stack: Stack, agent: RunningAgent
) -> None:
    schedule = stack.create(
        stack.register("asked", agent.url), name="asked", fire_at="2099-01-01T00:00:00Z"
    )
    path = f"/agents/{schedule['agent_id']}/schedules/{schedule['id']}/trigger"
    ((first, pid),) = stack.wait_for(lambda: _standbys(stack))
    fires = [stack.api.post(path).json()["triggered_fire_id"]]
    stack.wait_for(lambda: len(_inputs(agent, schedule)) == 1)
    os.kill(pid, signal.SIGKILL)
    stack.wait_for(lambda: any(run != first for run, _ in _standbys(stack)))
    fires.append(stack.api.post(path).json()["triggered_fire_id"])
    stack.wait_for(lambda: len(_inputs(agent, schedule)) == 2)
    assert [r["idempotency_key"] for r in _inputs(agent, schedule)] == fires
    joined = f"select slice_key from fires where schedule_id = '{schedule['id']}'"
    assert all(key.endswith("/now") for (key,) in stack.sql(joined))


def _standbys(stack: Stack) -> list[tuple[Any, ...]]:
    """(run, process) of those that are up."""
    return stack.sql(
        "select dagster_run_id, pid from dispatches join slices using (slice_key) "
        "where kind = 'now' and finished_at is null"
    )


def _armed_from(stack: Stack) -> float:
    """The first minute whose run was up before it began: from then on fires are on time.

    What was created seconds before its first occurrence waits for a run to start.
    """
    query = """
        select extract(epoch from min(starts_at)) from slices join dispatches using (slice_key)
        where kind = 'minute' and started_at < starts_at - interval '2 seconds'
    """
    found = stack.wait_for(lambda: stack.sql(query)[0][0], timeout=150)
    return float(found)


def _inputs(agent: RunningAgent, schedule: dict[str, Any]) -> list[dict[str, Any]]:
    """The inputs of one schedule that its agent received, in order."""
    return [
        request
        for request in agent.received("event/send")
        if request["task_metadata"]["schedule_id"] == schedule["id"]
    ]


def _inputs_after(
    stack: Stack, agent: RunningAgent, schedule: dict[str, Any], *, due_after: float, count: int
) -> list[dict[str, Any]]:
    """The first `count` inputs of occurrences after `due_after`."""

    def look() -> list[dict[str, Any]]:
        found = [
            r
            for r in _inputs(agent, schedule)
            if _epoch(r["task_metadata"]["fire_time"]) > due_after
        ]
        return found[:count] if len(found) >= count else []

    found: list[dict[str, Any]] = stack.wait_for(look, timeout=120)
    return found


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _unfinished(stack: Stack, schedule: dict[str, Any], until: float) -> list[dict[str, Any]]:
    return [
        f
        for f in stack.fires(schedule)
        if _epoch(f["due_at"]) <= until and f["state"] in ("planned", "claimed", "task_created")
    ]


def _failed(stack: Stack, schedule: dict[str, Any]) -> dict[str, Any] | None:
    return next((f for f in stack.fires(schedule) if f["state"] == "failed"), None)


def _recorded(stack: Stack, schedule: dict[str, Any]) -> list[str]:
    """Keys of settled slices that hold fires of the schedule, newest first."""
    rows = stack.sql(
        "select distinct slice_key from fires join slices using (slice_key) "
        f"where schedule_id = '{schedule['id']}' and settled_at is not null order by 1"
    )
    return [key for (key,) in rows]


def _ended_run_of(stack: Stack, schedule: dict[str, Any]) -> dict[str, Any] | None:
    """The ended Dagster run of the schedule's first settled slice."""
    keys = _recorded(stack, schedule)
    if not keys:
        return None
    tags = [{"key": "dagster/partition", "value": keys[0]}]
    query = """
        query ($tags: [ExecutionTag!]) {
          runsOrError(filter: {tags: $tags, statuses: [SUCCESS, FAILURE]}) {
            ... on Runs { results { runId status tags { key value } } } } }
    """
    runs: list[dict[str, Any]] = stack.graphql(query, tags=tags)["runsOrError"]["results"]
    return runs[0] if runs else None


def _latest_materialization(stack: Stack, path: list[str]) -> dict[str, Any]:
    query = """
        query ($path: [String!]!) {
          assetOrError(assetKey: {path: $path}) {
            ... on Asset { assetMaterializations(limit: 1) {
              partition metadataEntries { label
                ... on TextMetadataEntry { text }
                ... on IntMetadataEntry { intValue }
                ... on FloatMetadataEntry { floatValue } } } } } }
    """
    asset = stack.graphql(query, path=path)["assetOrError"]
    event: dict[str, Any] = asset["assetMaterializations"][0]
    return event


def _failure_text(stack: Stack, run_id: str) -> str:
    query = """
        query ($run: ID!) {
          logsForRun(runId: $run) {
            ... on EventConnection { events {
              ... on ExecutionStepFailureEvent { error { message
                errorChain { error { message } } } } } } } }
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        events = stack.graphql(query, run=run_id)["logsForRun"]["events"]
        if text := "".join(str(event["error"]) for event in events if event.get("error")):
            return text
        time.sleep(1)
    return ""
