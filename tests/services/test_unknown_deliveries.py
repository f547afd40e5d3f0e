"""When nobody can know whether an input arrived: proof, the guarantee, and what is said again."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.policies import DeliveryGuarantee, Policies
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.platform_port import Assignment
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
from tests.services.working import Platform, inputs, work_alone, work_slice

# --- a killed process, for real -------------------------------------------------------------------


def killed_between_send_and_commit(
    database_url: str, key: str, agent: RunningAgent, fire: str
) -> None:
    """A run in a process of its own, SIGKILLed while its agent holds the input unanswered."""
    work = (
        "from tests.services.working import work_slice; "
        f"work_slice({database_url!r}, {key!r}, request_timeout_seconds=60)"
    )
    process = subprocess.Popen([sys.executable, "-c", work])
    try:
        deadline = time.monotonic() + 30
        while not inputs(agent, [fire]):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


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
        insert into tasks (id, name, agent_id, status, created_at, updated_at)
        select task_id, 'scheduled-run:' || schedule_id || ':' || id, :agent,
               case when cast(:touched as float) is null then 'RUNNING' else 'COMPLETED' end,
               claimed_at - interval '1 hour',
               claimed_at + make_interval(secs => coalesce(cast(:touched as float), -3600))
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
            None, schedule, operation="create", actor={}, tzdata_version="2026a"
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
