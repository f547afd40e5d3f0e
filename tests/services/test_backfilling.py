"""Backfills on a real ledger: what is made up, what is left alone, and in which order it goes."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireReason, FireState, GapReason, scheduled_fire_id
from schedules_pipeline.domain.planning import Gap
from schedules_pipeline.domain.policies import Policies
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.domain.slices import Slice, SliceKind, floor_hour
from schedules_pipeline.errors import InvalidInput, NotFound, Rejected
from schedules_pipeline.services import backfilling
from schedules_pipeline.services.backfilling import (
    BackfillOrder,
    Backfills,
    feed_backfills,
    missed_hours,
)
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.platform_port import Assignment
from schedules_pipeline.services.stored import Backfill
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.settings import Settings
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.agents import RunningAgent
from tests.ledger import (
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    delete_schedule,
    one,
    query,
    seconds,
)
from tests.services.working import Platform, inputs, work_alone, work_slice

MINUTE = timedelta(minutes=1)


def minutely(store: PostgresStore, **changes: Any) -> Schedule:
    return a_schedule(store, stopped=True, every=60, **changes)


def past(store: PostgresStore, minutes: int) -> datetime:
    """So many whole minutes before the present one."""
    return database_now(store).replace(second=0, microsecond=0) - minutes * MINUTE


def order(store: PostgresStore, first: int, last: int, **changes: Any) -> BackfillOrder:
    """From `first` to `last` minutes ago, both inclusive."""
    return BackfillOrder(from_at=past(store, first), to_at=past(store, last), **changes)


def start(store: PostgresStore, schedule: Schedule, wanted: BackfillOrder) -> Backfill:
    return Backfills(store).start(schedule.agent_id, schedule.id, wanted, {"user_id": "anna"})


def ledger(store: PostgresStore) -> list[tuple[datetime, str, str, int]]:
    rows = query(
        store,
        "select nominal_at, trigger_type, state, redrive_count from fires order by nominal_at, id",
    )
    return [(row.nominal_at, row.trigger_type, row.state, row.redrive_count) for row in rows]


def ended(
    store: PostgresStore,
    schedule: Schedule,
    minutes: int,
    state: FireState,
    reason: FireReason | None = None,
) -> str:
    """The fire of an occurrence, come to that."""
    key = a_slice(store, past(store, minutes))
    run = a_dispatch(store, key, finished=True)
    return a_fire(store, schedule, key, past(store, minutes), state, run=run, reason=reason)


# --- what becomes of each instant -----------------------------------------------------------------


def test_an_instant_without_a_fire_gets_its_one(store: PostgresStore) -> None:
    schedule = minutely(store)
    backfill = start(store, schedule, order(store, 5, 3))
    assert ledger(store) == [(past(store, m), "backfill", "planned", 0) for m in (5, 4, 3)]
    assert (backfill.instants_count, backfill.left_count, backfill.next_at) == (3, 0, None)
    assert backfill.states == {"planned": 3}
    (key,) = {row.slice_key for row in query(store, "select slice_key from fires")}
    assert key.endswith("/backlog")
    ids = {row.id for row in query(store, "select id from fires")}
    assert f"agent-run-schedule:{schedule.id}-run-{past(store, 5):%Y-%m-%dT%H:%M:%SZ}" in ids


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (FireState.FAILED, FireReason.TIMEOUT),
        (FireState.MISSED, FireReason.COALESCED),
        (FireState.CANCELLED, FireReason.RUN_CANCELLED),
    ],
)
def test_one_that_ended_undelivered_is_redriven(
    store: PostgresStore, state: FireState, reason: FireReason
) -> None:
    schedule = minutely(store)
    fire = ended(store, schedule, 4, state, reason)
    backfill = start(store, schedule, order(store, 4, 4))
    assert ledger(store) == [(past(store, 4), "scheduled", "planned", 1)]
    assert one(store, "select idempotency_key from fires") == f"{fire}#r1"
    assert backfill.left_count == 0


@pytest.mark.parametrize(
    ("state", "reason", "again"),
    [
        (FireState.DELIVERED, None, True),
        (FireState.SKIPPED, FireReason.PAUSED, True),
        (FireState.PLANNED, None, False),
        (FireState.TASK_CREATED, None, False),
    ],
)
def test_what_was_delivered_skipped_or_is_under_way_is_left_alone_unless_forced(
    store: PostgresStore, state: FireState, reason: FireReason | None, again: bool
) -> None:
    schedule = minutely(store)
    own = ended(store, schedule, 4, state, reason)
    assert start(store, schedule, order(store, 4, 4)).left_count == 1
    assert ledger(store) == [(past(store, 4), "scheduled", state.value, 0)]
    forced = start(store, schedule, order(store, 4, 4, force=True))
    assert forced.left_count == (0 if again else 1)
    others = query(store, "select * from fires where id <> :id", id=own)
    assert len(others) == again
    if again:
        (made,) = others
        assert (made.forced, made.trigger_type, made.state) == (True, "backfill", "planned")
        stamp = f"{past(store, 4):%Y-%m-%dT%H:%M:%SZ}"
        assert made.id.startswith(f"agent-run-schedule:{schedule.id}-backfill-")
        assert made.id.endswith(f"-{stamp}")
        assert made.idempotency_key == made.id


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(store: PostgresStore) -> None:
    schedule = minutely(store)
    ended(store, schedule, 6, FireState.DELIVERED)
    ended(store, schedule, 5, FireState.FAILED, FireReason.TIMEOUT)
    ended(store, schedule, 4, FireState.PLANNED)
    before = ledger(store)
    would = Backfills(store).forecast(schedule.agent_id, schedule.id, order(store, 6, 3))
    assert (would.instants, would.new, would.redriven, would.forced, would.left) == (4, 1, 1, 0, 2)
    forced = order(store, 6, 3, force=True)
    would = Backfills(store).forecast(schedule.agent_id, schedule.id, forced)
    assert (would.forced, would.left) == (1, 1)
    assert ledger(store) == before
    assert query(store, "select 1 from backfills") == []


def test_only_what_is_due_already_counts_and_the_window_does_not(store: PostgresStore) -> None:
    cadence = Cadence(interval_seconds=60, start_at=datetime(2090, 1, 1, tzinfo=UTC))
    schedule = minutely(store, cadence=cadence, paused=True)
    wanted = BackfillOrder(from_at=past(store, 1), to_at=past(store, -30))
    assert start(store, schedule, wanted).instants_count == 2


def test_a_second_backfill_of_the_same_range_leaves_the_first_ones_fires_alone(
    store: PostgresStore,
) -> None:
    schedule = minutely(store)
    start(store, schedule, order(store, 5, 3))
    assert start(store, schedule, order(store, 5, 3)).left_count == 3
    assert len(ledger(store)) == 3


@pytest.mark.parametrize(
    ("first", "last", "error", "text"),
    [
        (3, 5, InvalidInput, "is before from"),
        (-5, -9, InvalidInput, "from: lies ahead; a backfill is of the past"),
        (20_000, 1, Rejected, "More than 10,000 occurrences lie in that range"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    store: PostgresStore, first: int, last: int, error: type[Exception], text: str
) -> None:
    schedule = minutely(store)
    with pytest.raises(error, match=text):
        start(store, schedule, order(store, first, last))
    assert query(store, "select 1 from backfills") == []


def test_an_unknown_backfill_is_not_found(store: PostgresStore) -> None:
    with pytest.raises(NotFound, match="Backfill 'x' does not exist"):
        Backfills(store).get("x")


# --- feeding --------------------------------------------------------------------------------------


def test_the_rest_is_fed_by_ticks(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfilling, "FED_AT_ONCE", 4)
    schedule = minutely(store)
    ended(store, schedule, 9, FireState.DELIVERED)
    backfill = start(store, schedule, order(store, 10, 1))
    assert (backfill.states, backfill.next_at) == ({"planned": 3}, past(store, 6))
    feed_backfills(store)
    feed_backfills(store)
    backfill = Backfills(store).get(backfill.id)
    assert (backfill.states, backfill.next_at, backfill.left_count) == ({"planned": 9}, None, 1)
    feed_backfills(store)
    assert len(ledger(store)) == 10


def test_a_deleted_schedule_is_fed_no_further(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfilling, "FED_AT_ONCE", 4)
    schedule = minutely(store)
    backfill = start(store, schedule, order(store, 10, 1))
    delete_schedule(store, schedule)
    feed_backfills(store)
    assert Backfills(store).get(backfill.id).next_at is None
    assert len(ledger(store)) == 4


def test_a_cadence_that_can_no_longer_be_read_ends_its_backfill_and_stops_no_other(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backfilling, "FED_AT_ONCE", 4)
    broken, good = minutely(store), minutely(store)
    ended_early, whole = (start(store, each, order(store, 8, 1)) for each in (broken, good))
    query(
        store,
        "update agent_run_schedules set cron_expression = 'nonsense', interval_seconds = null "
        "where id = :id",
        id=broken.id,
    )
    feed_backfills(store)
    ended_early, whole = (Backfills(store).get(each.id) for each in (ended_early, whole))
    assert (ended_early.states, ended_early.left_count) == ({"planned": 4}, 4)
    assert ended_early.next_at is None
    assert f"backfill {ended_early.id} ends early: cron_expression" in caplog.text
    assert (whole.states, whole.left_count, whole.next_at) == ({"planned": 8}, 0, None)


# --- delivery -------------------------------------------------------------------------------------


def deliveries(store: PostgresStore, key: str) -> tuple[list[str], int]:
    """What goes out, in order, and the most that were under way at once."""
    sent: list[str] = []
    at_once = [0, 0]

    async def send(assignment: Assignment) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        sent.append(assignment.task.task_metadata["fire_time"])
        await asyncio.sleep(0.02)
        at_once[0] -= 1

    work_alone(store, key, Platform(send=send))
    return sent, at_once[1]


@pytest.mark.parametrize("allow_all", [False, True])
def test_its_fires_go_one_after_another_unless_all_may_go_at_once(
    store: PostgresStore, allow_all: bool
) -> None:
    schedule = minutely(store, policies=Policies(max_fires=1, catchup_window_seconds=0))
    query(store, "update agent_run_schedules set paused = true")
    ended(store, schedule, 200, FireState.FAILED, FireReason.TIMEOUT)
    start(store, schedule, order(store, 200, 180, allow_all=allow_all))
    key = str(one(store, "select distinct slice_key from fires"))
    sent, most = deliveries(store, key)
    assert sent == sorted(sent)
    assert len(sent) == 21
    assert (most > 1) is allow_all
    assert Counter(state for _, _, state, _ in ledger(store)) == {"delivered": 21}
    assert one(store, "select fire_count from schedule_clock") == 0


def test_a_long_one_goes_as_fast_as_its_agent_answers(store: PostgresStore) -> None:
    schedule = minutely(store)
    start(store, schedule, order(store, 300, 101))
    key = str(one(store, "select distinct slice_key from fires"))
    platform = Platform()
    work_alone(store, key, platform)
    assert len(platform.sent) == 200
    assert platform.sent == sorted(platform.sent)


# --- hours that the clock missed ------------------------------------------------------------------


def a_gap(
    store: PostgresStore,
    schedule: Schedule,
    from_at: datetime,
    to_at: datetime,
    reason: GapReason = GapReason.COALESCED,
) -> None:
    gap = Gap(from_at=from_at, to_at=to_at, reason=reason)
    store.run(lambda tx: tx.fires.insert_gap(schedule.id, gap))
    query(store, "update gaps set created_at = created_at - interval '11 seconds'")


HOUR = timedelta(hours=1)


def this_hour(store: PostgresStore) -> datetime:
    return floor_hour(database_now(store))


def test_each_hour_that_a_gap_touches_is_a_partition_the_newest_168(store: PostgresStore) -> None:
    schedule = minutely(store)
    now = this_hour(store)
    a_gap(store, schedule, now - 400 * HOUR, now - 200 * HOUR)
    keys, newest = missed_hours(store, 0)
    assert len(keys) == 168
    assert keys[-1] == Slice(SliceKind.MISSED, now - 201 * HOUR).key
    assert missed_hours(store, newest) == ([], newest)
    a_gap(store, schedule, now - 5 * HOUR + MINUTE, now - 4 * HOUR + MINUTE)
    keys, _ = missed_hours(store, newest)
    assert keys == [Slice(SliceKind.MISSED, now - n * HOUR).key for n in (5, 4)]


@pytest.mark.parametrize(
    "reason", [GapReason.PAUSED, GapReason.DELETED, GapReason.SCHEDULE_CHANGED]
)
def test_what_an_edit_left_behind_is_no_missed_hour(
    store: PostgresStore, reason: GapReason
) -> None:
    now = this_hour(store)
    a_gap(store, minutely(store), now - 2 * HOUR, now - HOUR, reason)
    assert missed_hours(store, 0) == ([], 0)


def test_a_gap_of_the_last_seconds_is_left_for_the_next_tick(store: PostgresStore) -> None:
    now = this_hour(store)
    a_gap(store, minutely(store), now - 2 * HOUR, now - HOUR)
    query(store, "update gaps set created_at = statement_timestamp()")
    assert missed_hours(store, 0) == ([], 0)


def test_no_gap_is_passed_over_because_a_younger_one_has_a_smaller_id(
    store: PostgresStore,
) -> None:
    now = this_hour(store)
    schedule = minutely(store)
    for hours in (9, 5):
        a_gap(store, schedule, now - hours * HOUR, now - (hours - 1) * HOUR)
    query(
        store,
        "update gaps set created_at = statement_timestamp() where id = (select min(id) from gaps)",
    )
    assert missed_hours(store, 0) == ([], 0)


def a_persons_run(database_url: str, key: str, run: str) -> None:
    """As a backfill from the Dagster UI does it."""
    wiring = Wiring(Settings(database_url=database_url, retry_wait_seconds=0.01), pool_size=3)
    try:
        with wiring.dispatcher(run, key, by_person=True) as dispatcher:
            dispatcher.dispatch()
    finally:
        wiring.close()


def test_a_persons_run_of_a_missed_hour_delivers_what_gaps_cover_there_and_again_nothing(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    now = this_hour(store)
    agent = an_agent(store, recorder.url)
    schedule = a_schedule(store, agent, every=600, stopped=True)
    deleted = a_schedule(store, agent, every=600, stopped=True)
    for each in (schedule, deleted):
        a_gap(store, each, now - 3 * HOUR, now - 2 * HOUR + seconds(1_201))
    delete_schedule(store, deleted)
    key = Slice(SliceKind.MISSED, now - 2 * HOUR).key

    a_persons_run(database_url, key, "run-1")

    # Of that hour: 00, 10 and 20 minutes past.
    expected = [(now - 2 * HOUR + n * 10 * MINUTE, "backfill", "delivered", 0) for n in range(3)]
    assert ledger(store) == expected
    fires = [str(row.id) for row in query(store, "select id from fires")]
    assert len(inputs(recorder, fires)) == 3
    a_persons_run(database_url, key, "run-2")
    assert ledger(store) == expected


def test_it_takes_up_fires_of_that_hour_that_were_planned_and_went_missed(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    hour = this_hour(store) - 2 * HOUR
    agent = an_agent(store, recorder.url)
    schedule, deleted = (a_schedule(store, agent, every=600, stopped=True) for _ in range(2))
    inside, outside = hour + 10 * MINUTE, hour + HOUR
    for each, nominal in ((schedule, inside), (schedule, outside), (deleted, inside)):
        key = a_slice(store, nominal)
        a_fire(store, each, key, nominal, FireState.MISSED, reason=FireReason.COALESCED)
    delete_schedule(store, deleted)
    key = Slice(SliceKind.MISSED, hour).key

    for run in ("run-1", "run-2"):
        a_persons_run(database_url, key, run)
        found = query(
            store,
            "select schedule_id, nominal_at, slice_key, redrive_count from fires "
            "where state = 'delivered'",
        )
        assert [tuple(row) for row in found] == [(schedule.id, inside, key, 1)]
    sent = Counter(
        request["idempotency_key"]
        for request in recorder.received("event/send")
        if request["task_metadata"]["schedule_id"] in (schedule.id, deleted.id)
    )
    assert sent == {f"{scheduled_fire_id(schedule.id, inside)}#r1": 1}


def test_a_missed_hour_is_emitted_only_to_heal(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    now = this_hour(store)
    schedule = a_schedule(store, stopped=True, every=600)
    a_gap(store, schedule, now - 2 * HOUR, now - HOUR)
    hour = Slice(SliceKind.MISSED, now - 2 * HOUR)

    def emitted() -> list[str]:
        emissions = Clock(store, RULES, Tasks(store).not_final).tick(lambda _since: [])
        return [emission.slice_key for emission in emissions]

    assert emitted() == []
    # A person's run expands it, and dies.
    dispatch = Dispatch(store, "run-1", hour.key)
    dispatch.begin(by_person=True)
    backfilling.expand(store, hour)
    assert emitted() == []
    dispatch.finish()
    assert emitted() == [hour.key]
    work_slice(database_url, hour.key, "run-2", request_timeout_seconds=0.2)
    assert Counter(state for _, _, state, _ in ledger(store)) == {"failed": 6}


def test_an_automatic_run_does_not_expand_a_missed_hour(
    store: PostgresStore, database_url: str
) -> None:
    now = this_hour(store)
    schedule = a_schedule(store, stopped=True, every=600)
    a_gap(store, schedule, now - 2 * HOUR, now - HOUR)
    hour = Slice(SliceKind.MISSED, now - 2 * HOUR)
    store.run(lambda tx: tx.slices.open([hour], tx.now()))
    work_slice(database_url, hour.key)
    assert ledger(store) == []
