"""When nobody can know whether an input arrived: proof, the guarantee, and what is said again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.policies import DeliveryGuarantee, Policies
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.platform_port import Assignment
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.ledger import (
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    end_dispatch,
    one,
    past_slice,
    query,
    seconds,
    see_fire,
)
from tests.services.working import Platform, inputs, tasks_made, work_alone, work_slice

# --- a killed process, for real -------------------------------------------------------------------


@contextmanager
def a_run_of_its_own(database_url: str, key: str) -> Iterator[subprocess.Popen[bytes]]:
    """`run-1` in another process; in the end it is SIGKILLed, if it is still there."""
    work = (
        "from tests.services.working import work_slice; "
        f"work_slice({database_url!r}, {key!r}, request_timeout_seconds=60)"
    )
    process = subprocess.Popen([sys.executable, "-c", work], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until the agent has seen what is wanted of the process."""
    deadline = time.monotonic() + 30
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def killed_between_send_and_commit(
    database_url: str, key: str, agent: RunningAgent, fire: str
) -> None:
    """A run that is killed while its agent holds the input unanswered."""
    with a_run_of_its_own(database_url, key) as process:
        wait_for(lambda: bool(inputs(agent, [fire])), process)


@pytest.mark.parametrize(
    ("guarantee", "end", "received"),
    [
        (DeliveryGuarantee.AT_LEAST_ONCE, ("delivered", None, True), 2),
        (DeliveryGuarantee.AT_MOST_ONCE, ("failed", "delivery_unknown", False), 1),
    ],
)
def test_after_a_sigkill_between_send_and_commit_the_guarantee_decides(
    store: PostgresStore,
    database_url: str,
    recorder: RunningAgent,
    guarantee: DeliveryGuarantee,
    end: tuple[str, str | None, bool],
    received: int,
) -> None:
    key = past_slice(store)
    agent = an_agent(store, recorder.url_for("input-hang"))
    policies = Policies(delivery_guarantee=guarantee)
    schedule = a_schedule(store, agent, stopped=True, policies=policies)
    fire = a_fire(store, schedule, key, database_now(store) - seconds(1))
    killed_between_send_and_commit(database_url, key, recorder, fire)
    assert see_fire(store, fire).state == "task_created"

    end_dispatch(store, "run-1")
    query(store, "update agents set acp_url = :url", url=recorder.url)
    work_slice(database_url, key, "run-2")

    seen = see_fire(store, fire)
    assert (seen.state, seen.reason, seen.possible_duplicate) == end
    got = inputs(recorder, [fire])
    assert len(got) == received
    assert len({(r["event_id"], r["task_id"]) for r in got}) == 1


def test_a_run_that_was_frozen_while_it_was_taken_over_sends_nothing_when_it_wakes(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    agent = an_agent(store, recorder.url_for("delay-2"))
    policies = Policies(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)
    schedule = a_schedule(store, agent, stopped=True, policies=policies)
    fire = a_fire(store, schedule, key, database_now(store) - seconds(1))
    with a_run_of_its_own(database_url, key) as frozen:
        wait_for(lambda: bool(tasks_made(recorder, [fire])), frozen)
        os.kill(frozen.pid, signal.SIGSTOP)
        end_dispatch(store, "run-1")
        query(store, "update agents set acp_url = :url", url=recorder.url)
        work_slice(database_url, key, "run-2")
        assert see_fire(store, fire).state == "delivered"
        # It wakes with the answer to its task/create in hand: its next step would be the input.
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.wait(30)
    assert len(inputs(recorder, [fire])) == 1
    assert see_fire(store, fire).claimed_by == "run-2"


# --- a live run whose agent leaves it in doubt ----------------------------------------------------


@pytest.mark.parametrize("mode", ["input-close", "input-reset", "input-delay-1"])
def test_an_agent_that_reads_and_does_not_answer_in_time_gets_the_input_as_guaranteed(
    store: PostgresStore, database_url: str, recorder: RunningAgent, mode: str
) -> None:
    key = past_slice(store)
    fires = {}
    for guarantee in DeliveryGuarantee:
        policies = Policies(delivery_guarantee=guarantee)
        agent = an_agent(store, recorder.url_for(mode))
        schedule = a_schedule(store, agent, stopped=True, policies=policies)
        fires[guarantee] = a_fire(store, schedule, key, database_now(store) - seconds(1))
    work_slice(database_url, key)

    often, once = fires[DeliveryGuarantee.AT_LEAST_ONCE], fires[DeliveryGuarantee.AT_MOST_ONCE]
    seen = see_fire(store, often)
    assert (seen.state, seen.reason, seen.possible_duplicate) == ("failed", "timeout", True)
    got = inputs(recorder, [often])
    assert (len(got), len({r["event_id"] for r in got})) == (5, 1)
    seen = see_fire(store, once)
    assert (seen.state, seen.reason, seen.possible_duplicate) == (
        "failed",
        "delivery_unknown",
        False,
    )
    assert (len(inputs(recorder, [once])), seen.attempts) == (1, 1)


@pytest.mark.parametrize(
    ("mode", "attempts"),
    # It refuses the first task/create and the first input; or the first input alone.
    [("fail_once", 3), ("input-fail_once", 2)],
)
def test_at_most_once_an_error_reply_is_tried_again_and_is_no_duplicate(
    store: PostgresStore, database_url: str, recorder: RunningAgent, mode: str, attempts: int
) -> None:
    key = past_slice(store)
    agent = an_agent(store, recorder.url_for(mode))
    policies = Policies(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)
    schedule = a_schedule(store, agent, stopped=True, policies=policies)
    fire = a_fire(store, schedule, key, database_now(store) - seconds(1))
    work_slice(database_url, key)
    seen = see_fire(store, fire)
    assert (seen.state, seen.attempts, seen.possible_duplicate) == ("delivered", attempts, False)


# --- proof of the agent's side --------------------------------------------------------------------


def a_take_over(store: PostgresStore, schedule: Schedule, key: str) -> str:
    """A fire of a dead run, its task made; returns its id."""
    dead = a_dispatch(store, key, finished=True)
    at = database_now(store) - seconds(1)
    return a_fire(store, schedule, key, at, FireState.TASK_CREATED, run=dead)


def a_task(store: PostgresStore, fire: str, agent_id: str, *, touched: float | None) -> None:
    """The fire's task; `touched`: so many seconds after the fire's claim its agent moved it."""
    query(
        store,
        """
        insert into tasks (id, name, agent_id, status, created_at, updated_at, moved_at)
        select task_id, 'scheduled-run:' || schedule_id || ':' || id, :agent,
               case when cast(:touched as float) is null then 'RUNNING' else 'COMPLETED' end,
               claimed_at - interval '1 hour',
               claimed_at + make_interval(secs => coalesce(cast(:touched as float), -3600)),
               claimed_at + make_interval(secs => cast(:touched as float))
        from fires where id = :fire
        """,
        fire=fire,
        agent=agent_id,
        touched=touched,
    )


@pytest.mark.parametrize(
    ("touched", "sent"),
    [
        (0.5, 0),
        (None, 1),
        # Moved before this claim, for an earlier drive of the fire: it proves nothing of this one.
        (-0.5, 1),
    ],
)
def test_a_task_that_its_agent_moved_since_the_claim_proves_the_input(
    store: PostgresStore,
    database_url: str,
    recorder: RunningAgent,
    touched: float | None,
    sent: int,
) -> None:
    key = past_slice(store)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    fire = a_take_over(store, schedule, key)
    a_task(store, fire, schedule.agent_id, touched=touched)
    work_slice(database_url, key, "run-2")
    assert len(inputs(recorder, [fire])) == sent
    seen = see_fire(store, fire)
    assert (seen.state, seen.possible_duplicate) == ("delivered", sent > 0)


def test_a_task_that_its_agent_moved_before_the_input_could_go_out_proves_nothing(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    """Its handler of task/create did that; the input came later, or never."""
    key = past_slice(store)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    fire = a_take_over(store, schedule, key)
    a_task(store, fire, schedule.agent_id, touched=0.5)
    query(store, "update fires set task_created_at = claimed_at + interval '0.6 s'")
    work_slice(database_url, key, "run-2")
    assert len(inputs(recorder, [fire])) == 1
    assert see_fire(store, fire).possible_duplicate


def test_that_we_stopped_a_task_is_no_proof_that_its_agent_has_the_input(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    fire = a_take_over(store, schedule, key)
    a_task(store, fire, schedule.agent_id, touched=None)
    task = str(one(store, "select task_id from fires"))
    store.run(lambda tx: tx.tasks.stop({task: "CANCELED"}))
    work_slice(database_url, key, "run-2")
    assert len(inputs(recorder, [fire])) == 1
    assert see_fire(store, fire).possible_duplicate


@pytest.mark.parametrize("act", ["metadata", "cancel"])
def test_what_people_do_to_a_task_is_no_proof_that_its_agent_has_the_input(
    store: PostgresStore, database_url: str, recorder: RunningAgent, act: str
) -> None:
    key = past_slice(store)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    fire = a_take_over(store, schedule, key)
    a_task(store, fire, schedule.agent_id, touched=None)
    task = str(one(store, "select task_id from fires"))
    if act == "metadata":
        # Also what the fire wrote there about itself: nothing of it is read back.
        Tasks(store).update(task, task_metadata={"idempotency_key": "x"}, merge_params={"a": 1})
    else:
        store.run(lambda tx: tx.tasks.move(task, "CANCELED", None, by_its_agent=False))
    work_slice(database_url, key, "run-2")
    assert [each["idempotency_key"] for each in inputs(recorder, [fire])] == [fire]
    assert see_fire(store, fire).possible_duplicate


def test_a_stale_take_over_ends_unknown_and_with_proof_delivered(store: PostgresStore) -> None:
    key = past_slice(store)
    dead = a_dispatch(store, key, finished=True)
    at = database_now(store) - seconds(100)
    unproved, proved = (
        a_fire(
            store,
            a_schedule(store, stopped=True, every=1),
            key,
            at,
            FireState.TASK_CREATED,
            run=dead,
        )
        for _ in range(2)
    )
    platform = Platform(shows=lambda assignment: assignment.fire_id == proved)
    work_alone(store, key, platform, run="run-2")
    assert platform.sent == []
    seen = see_fire(store, unproved)
    assert (seen.state, seen.reason) == ("failed", "delivery_unknown")
    assert see_fire(store, proved).state == "delivered"


# --- what is said again ---------------------------------------------------------------------------


def told(heard: list[Assignment]) -> list[tuple[str, object, str]]:
    return [(a.input_content, a.task.params, a.task.task_metadata["display_name"]) for a in heard]


def change_everything(store: PostgresStore, schedule: Schedule) -> None:
    """The next version says something else."""
    Editor(store, RULES).update(
        schedule.agent_id,
        schedule.id,
        lambda before: replace(
            before,
            name="renamed",
            task_params={"p": 2},
            initial_input={"type": "text", "author": "user", "content": "after"},
        ),
        {},
    )


def a_created_schedule(store: PostgresStore) -> Schedule:
    """With its first row of history, as the API makes it."""
    schedule = a_schedule(
        store,
        stopped=True,
        task_params={"p": 1},
        initial_input={"type": "text", "author": "user", "content": "before"},
    )
    store.run(
        lambda tx: tx.schedules.record_change(
            None,
            schedule,
            operation="create",
            actor={},
            at=schedule.created_at,
            tzdata_version="2026a",
        )
    )
    return schedule


def hearing(store: PostgresStore, key: str, run: str) -> list[Assignment]:
    """What that run tells its agents."""
    heard: list[Assignment] = []

    async def send(assignment: Assignment) -> None:
        heard.append(assignment)

    work_alone(store, key, Platform(send=send), run=run)
    return heard


@pytest.mark.parametrize("state", [FireState.CLAIMED, FireState.TASK_CREATED])
def test_a_take_over_says_what_the_claim_began_to_say(
    store: PostgresStore, state: FireState
) -> None:
    key = past_slice(store)
    schedule = a_created_schedule(store)
    dead = a_dispatch(store, key, finished=True)
    at = database_now(store) - seconds(1)
    a_fire(store, schedule, key, at, state, run=dead, schedule_version=1)
    change_everything(store, schedule)
    assert told(hearing(store, key, "run-2")) == [("before", {"p": 1}, schedule.name)]
    assert one(store, "select schedule_version from fires") == 1


def test_a_redrive_says_what_is_in_force_now(store: PostgresStore) -> None:
    key = past_slice(store)
    schedule = a_created_schedule(store)
    at = database_now(store) - seconds(1)
    failed = a_fire(
        store,
        schedule,
        key,
        at,
        FireState.FAILED,
        reason=FireReason.TIMEOUT,
        schedule_version=1,
        recorded_at=at,
    )
    change_everything(store, schedule)
    Triggers(store).redrive(failed)
    backlog = str(one(store, "select slice_key from fires"))
    heard = hearing(store, backlog, "run-2")
    assert told(heard) == [("after", {"p": 2}, "renamed")]
    assert heard[0].idempotency_key == f"{failed}#r1"
