"""What a person asks for: a manual trigger and a redrive, on a real ledger."""

import asyncio
import re
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.policies import Policies
from schedules_pipeline.domain.schedule import AcpType, Schedule
from schedules_pipeline.domain.slices import floor_minute, utc_stamp
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.claiming import ClaimResult, claim
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.platform_port import Assignment
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    GRACE,
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    past_slice,
    query,
    seconds,
)
from tests.services.working import Platform, work_alone


@pytest.fixture
def triggers(store: PostgresStore) -> Triggers:
    return Triggers(store)


def trigger(triggers: Triggers, schedule: Schedule) -> str:
    return triggers.trigger(schedule.agent_id, schedule.id)


def row_of(store: PostgresStore, fire: str) -> Any:
    (row,) = query(store, "select * from fires where id = :id", id=fire)
    return row


def take(store: PostgresStore, key: str, run: str = "run-1") -> ClaimResult:
    wanted = store.run(lambda tx: tx.claims.open_in(key, run, 1_000))
    return store.run(lambda tx: claim(tx, wanted, run, GRACE))


# --- manual ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("acp_type", [AcpType.ASYNC, AcpType.SYNC])
def test_a_manual_fire_has_the_contracts_id_and_joins_the_present_slice(
    store: PostgresStore, triggers: Triggers, acp_type: AcpType
) -> None:
    schedule = a_schedule(store, an_agent(store, acp_type=acp_type), stopped=True)
    before = database_now(store)
    fire = trigger(triggers, schedule)
    row = row_of(store, fire)
    assert before <= row.nominal_at == row.due_at == row.owed_at <= database_now(store)
    form = rf"agent-run-schedule:{schedule.id}-manual-[0-9a-f-]{{36}}-(.*Z)"
    found = re.fullmatch(form, fire)
    assert found is not None
    assert found.group(1) == utc_stamp(row.nominal_at)
    minute = utc_stamp(floor_minute(row.nominal_at))
    assert row.slice_key == (f"{minute}/sync" if acp_type is AcpType.SYNC else minute)
    assert (row.idempotency_key, row.trigger_type, row.state) == (fire, "manual", "planned")


@pytest.mark.parametrize(
    "definition",
    [{"paused": True}, {"policies": Policies(max_fires=1)}],
    ids=["paused", "exhausted"],
)
def test_it_goes_out_whatever_the_clock_does_and_is_not_counted(
    store: PostgresStore, triggers: Triggers, definition: dict[str, Any]
) -> None:
    schedule = a_schedule(store, stopped=True, **definition)
    query(store, "update schedule_clock set fire_count = 1")
    fire = trigger(triggers, schedule)
    key = row_of(store, fire).slice_key
    a_dispatch(store, key, "run-1")
    (claimed,) = take(store, key).claimed
    assert claimed.fire_id == fire
    metadata = claimed.assignment.task.task_metadata
    assert (metadata["trigger_type"], metadata["scheduled_fire_id"]) == ("manual", fire)
    (clock,) = query(store, "select fire_count, last_fire_at from schedule_clock")
    assert (clock.fire_count, clock.last_fire_at) == (1, None)


def test_it_goes_out_outside_the_window(store: PostgresStore, triggers: Triggers) -> None:
    over = database_now(store) - timedelta(days=1)
    schedule = a_schedule(store, cadence=Cadence(interval_seconds=60, end_at=over), stopped=True)
    key = row_of(store, trigger(triggers, schedule)).slice_key
    a_dispatch(store, key, "run-1")
    assert len(take(store, key).claimed) == 1


def test_each_trigger_is_a_fire_of_its_own_even_in_one_second(
    store: PostgresStore, triggers: Triggers
) -> None:
    schedule = a_schedule(store, stopped=True)
    fires = {trigger(triggers, schedule) for _ in range(5)}
    assert len(fires) == 5
    key = row_of(store, fires.copy().pop()).slice_key
    a_dispatch(store, key, "run-1")
    assert len(take(store, key).claimed) >= 1


def test_nothing_can_be_triggered_of_what_is_gone(store: PostgresStore, triggers: Triggers) -> None:
    schedule = a_schedule(store, stopped=True)
    with pytest.raises(NotFound):
        triggers.trigger("somebody-else", schedule.id)
    fire = trigger(triggers, schedule)
    Editor(store, RULES).delete(schedule.agent_id, schedule.id, {})
    with pytest.raises(NotFound):
        trigger(triggers, schedule)
    key = row_of(store, fire).slice_key
    a_dispatch(store, key, "run-1")
    assert take(store, key).claimed == []
    assert (row_of(store, fire).state, row_of(store, fire).reason) == ("skipped", "deleted")


def test_a_run_that_is_at_work_delivers_it_within_two_seconds(
    store: PostgresStore, triggers: Triggers
) -> None:
    schedule = a_schedule(store, stopped=True)
    key = a_slice(store, database_now(store))
    asked: list[str] = []

    async def ask(_worker: SliceWorker, _dispatch: Dispatch) -> None:
        await asyncio.sleep(0.3)
        asked.append(await asyncio.to_thread(trigger, triggers, schedule))
        if row_of(store, asked[0]).slice_key != key:  # A minute began just now.
            query(store, "update fires set slice_key = :key", key=key)

    platform = Platform()
    work_alone(store, key, platform, ends_in=1.8, beside=ask)
    assert platform.sent == asked != []
    row = row_of(store, asked[0])
    assert row.state == "delivered"
    assert row.delivered_at - row.due_at < seconds(2)


# --- redrive --------------------------------------------------------------------------------------

REDRIVEN = [
    (FireState.FAILED, FireReason.AGENT_ERROR),
    (FireState.FAILED, FireReason.DELIVERY_UNKNOWN),
    (FireState.MISSED, FireReason.COALESCED),
    (FireState.MISSED, FireReason.STALE),
    (FireState.CANCELLED, FireReason.RUN_CANCELLED),
]


@pytest.mark.parametrize(("state", "reason"), REDRIVEN)
def test_what_ended_undelivered_is_redriven_under_a_key_of_its_own(
    store: PostgresStore, triggers: Triggers, state: FireState, reason: FireReason
) -> None:
    schedule = a_schedule(store, stopped=True)
    nominal = database_now(store) - seconds(7_200)
    fire = a_fire(store, schedule, past_slice(store), nominal, state, reason=reason,
                  attempts=5, error="it was away", schedule_version=1)  # fmt: skip
    for number in (1, 2):
        before = database_now(store)
        shown = triggers.redrive(fire)
        assert (shown.id, shown.state, shown.attempts) == (fire, FireState.PLANNED, 0)
        row = row_of(store, fire)
        assert row.idempotency_key == f"{fire}#r{number}"
        assert (row.redrive_count, row.error, row.schedule_version) == (number, None, None)
        assert before <= row.owed_at <= database_now(store)
        assert (row.nominal_at, row.slice_key[-8:]) == (nominal, "/backlog")
        query(store, "update fires set state = 'missed', reason = 'stale', finished_at = now() "
                     "where id = :id", id=fire)  # fmt: skip


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        (FireState.DELIVERED, None, "delivered"),
        (FireState.PLANNED, None, "planned"),
        (FireState.CLAIMED, None, "claimed"),
        (FireState.TASK_CREATED, None, "task_created"),
        (FireState.SKIPPED, FireReason.PAUSED, "skipped/paused"),
        (FireState.SKIPPED, FireReason.SKIPPED_BY_USER, "skipped/skipped_by_user"),
        (FireState.CANCELLED, FireReason.SCHEDULE_CHANGED, "cancelled/schedule_changed"),
    ],
)
def test_what_was_delivered_skipped_or_is_under_way_is_not_redriven(
    store: PostgresStore,
    triggers: Triggers,
    state: FireState,
    reason: FireReason | None,
    said: str,
) -> None:
    key = past_slice(store)
    run = a_dispatch(store, key)
    fire = a_fire(store, a_schedule(store), key, database_now(store), state, run=run, reason=reason)
    before = row_of(store, fire)
    with pytest.raises(Rejected, match=f"is {said}; only"):
        triggers.redrive(fire)
    assert row_of(store, fire) == before
    with pytest.raises(NotFound):
        triggers.redrive("no such fire")


def test_a_redrive_carries_the_definition_now_in_force_and_goes_out_while_paused(
    store: PostgresStore, triggers: Triggers
) -> None:
    schedule = a_schedule(store, stopped=True)
    fire = a_fire(store, schedule, past_slice(store), database_now(store) - seconds(7_200),
                  FireState.FAILED, schedule_version=1)  # fmt: skip
    new = {"type": "text", "author": "user", "content": "new"}
    change = partial(patched, given={"initial_input": new, "paused": True})
    Editor(store, RULES).update(schedule.agent_id, schedule.id, change, {})
    triggers.redrive(fire)
    said: list[tuple[str, str]] = []

    async def hear(assignment: Assignment) -> None:
        said.append((assignment.input_content, assignment.idempotency_key))

    work_alone(store, row_of(store, fire).slice_key, Platform(send=hear))
    row = row_of(store, fire)
    assert said == [("new", f"{fire}#r1")]
    assert (row.state, row.schedule_version, row.attempts) == ("delivered", 2, 1)
    with pytest.raises(Rejected, match="is delivered"):
        triggers.redrive(fire)


def test_a_cancelled_fire_that_is_still_ahead_is_redriven_to_its_own_due_time(
    store: PostgresStore, triggers: Triggers
) -> None:
    schedule = a_schedule(store, stopped=True)
    ahead = database_now(store).replace(microsecond=0) + seconds(40)
    key = a_slice(store, ahead)
    fire = a_fire(store, schedule, key, ahead, FireState.CANCELLED,
                  reason=FireReason.RUN_CANCELLED)  # fmt: skip

    triggers.redrive(fire)

    row = row_of(store, fire)
    assert (row.state, row.owed_at, row.due_at) == ("planned", ahead, ahead)
