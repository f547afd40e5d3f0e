"""The standby worker: when one is up, what joins it, and how it hands over."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.emission import Emission
from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.policies import CatchupPolicy, OverlapPolicy, Policies
from schedules_pipeline.domain.schedule import AcpType, Schedule
from schedules_pipeline.domain.slices import Slice, SliceKind, slice_of
from schedules_pipeline.errors import DispatchEnded
from schedules_pipeline.services import dispatching, standby
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.outcomes import write_outcomes
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.services.stored import EndedRun, Outcome
from schedules_pipeline.services.switching import Switches
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.factories import a_draft
from tests.ledger import (
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    end_dispatch,
    one,
    query,
    seconds,
    see_fire,
    the_clock_ticked,
)
from tests.services.working import Platform, a_dispatcher, inputs, until, work_alone
from tests.simulated import give_a_clock, set_clock

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
THIS_HOUR, NEXT_HOUR = "2027-03-01T12:00:00Z/now", "2027-03-01T13:00:00Z/now"
STANDS_FOR = 60.0


@dataclass
class House:
    """A store whose clock stands where the test sets it: at twenty past twelve, to begin with."""

    url: str
    store: PostgresStore

    def at(self, minute: int, second: int = 0) -> None:
        """That minute after noon."""
        set_clock(self.url, NOON + timedelta(minutes=minute, seconds=second))

    def tick(self, *ended: EndedRun, standby: bool = True) -> Sequence[Emission]:
        clock = Clock(self.store, RULES, Tasks(self.store).not_final, standby=standby)
        return clock.tick(lambda _since: ended)

    def emitted(self, *ended: EndedRun) -> list[str]:
        return [emission.run_key for emission in self.tick(*ended)]

    def standby(self, key: str = THIS_HOUR, *, heartbeat_age: float = 0) -> str:
        """A live standby of that hour; returns its run."""
        a_slice(self.store, slice_of(key).starts_at, SliceKind.NOW)
        return a_dispatch(self.store, key, heartbeat_age=heartbeat_age)

    def slice_of(self, fire_id: str) -> str:
        return str(one(self.store, "select slice_key from fires where id = :id", id=fire_id))

    def trigger(self, schedule: Schedule | None = None) -> str:
        """Returns the key of the slice that it joined."""
        wanted = schedule or a_schedule(self.store, stopped=True)
        return self.slice_of(Triggers(self.store).trigger(wanted.agent_id, wanted.id))


@pytest.fixture
def house(own_database_url: str) -> Iterator[House]:
    give_a_clock(own_database_url)
    store = PostgresStore(with_driver(own_database_url, "psycopg"), pool_size=3)
    found = House(own_database_url, store)
    found.at(20)
    yield found
    store.close()


# --- when one is up -------------------------------------------------------------------------------


def test_the_clock_keeps_one_run_up_for_each_hour_and_starts_the_next_ahead_of_it(
    house: House,
) -> None:
    assert house.emitted() == [THIS_HOUR]
    house.standby()
    house.at(59, 29)
    assert house.emitted() == []
    house.at(59, 30)
    assert house.emitted() == [NEXT_HOUR]


def test_where_it_is_not_wanted_none_is_started(house: House) -> None:
    assert house.tick(standby=False) == []
    assert one(house.store, "select count(*) from slices") == 0


def test_a_standby_waits_behind_live_minutes_and_counts_as_one_of_three(house: House) -> None:
    key = a_slice(house.store, NOON + timedelta(minutes=20))
    a_fire(house.store, a_schedule(house.store, stopped=True), key, NOON + timedelta(minutes=20))
    old = a_slice(house.store, NOON)
    a_fire(house.store, a_schedule(house.store, stopped=True), old, NOON)
    assert house.emitted() == [key, THIS_HOUR, old]


def test_no_standby_is_started_for_what_is_left_of_an_hour_when_the_next_one_is_due(
    house: House,
) -> None:
    house.at(59, 31)
    assert house.emitted() == [NEXT_HOUR]


def test_a_standby_that_died_is_replaced_at_once_however_often(house: House) -> None:
    the_clock_ticked(house.store, ago=1, series=60)
    assert house.emitted() == [THIS_HOUR]
    for number in range(1, 6):
        house.at(20 + number)
        run = house.standby(heartbeat_age=30)
        query(house.store, "update dispatches set heartbeat_at = statement_timestamp() "
                           "where finished_at is null")  # fmt: skip
        ended = EndedRun(dagster_run_id=run, slice_key=THIS_HOUR)
        assert house.emitted(ended) == [f"{THIS_HOUR}/retry-{number}"]


def test_a_standby_that_never_comes_up_is_tried_less_and_less_often(house: House) -> None:
    waits = []
    for _ in range(4):
        (emission,) = house.tick()
        now = database_now(house.store)
        waits.append((emission.emit_after - now).total_seconds())
        set_clock(house.url, emission.emit_after)
    assert waits == [20, 40, 80, 160]


def test_switched_off_none_is_started_and_on_again_one_is(house: House) -> None:
    Switches(house.store).turn(None, off=True, actor={}, note=None)
    assert house.emitted() == []
    Switches(house.store).turn(None, off=False, actor={}, note=None)
    assert house.emitted() == [THIS_HOUR]


def test_its_hour_settles_when_it_is_over_and_nothing_is_owed(house: House) -> None:
    house.tick()
    run = house.standby()
    house.at(60, 10)
    house.tick()
    settled = "select settled_at is not null from slices where slice_key = :key"
    assert not one(house.store, settled, key=THIS_HOUR), "its run may still get something"
    end_dispatch(house.store, run)
    house.tick()
    assert one(house.store, settled, key=THIS_HOUR)


# --- what joins it --------------------------------------------------------------------------------


def test_a_trigger_joins_the_standby_that_is_up(house: House) -> None:
    house.standby()
    assert house.trigger() == THIS_HOUR


def test_a_trigger_for_an_agent_that_answers_in_turn_joins_it_too(house: House) -> None:
    house.standby()
    agent = an_agent(house.store, acp_type=AcpType.SYNC)
    assert house.trigger(a_schedule(house.store, agent, stopped=True)) == THIS_HOUR


@pytest.mark.parametrize("how", ["none", "silent", "ended", "a person's", "of the last hour"])
def test_where_no_standby_is_up_a_trigger_joins_the_present_minute(house: House, how: str) -> None:
    match how:
        case "silent":
            house.standby(heartbeat_age=16)
        case "ended":
            end_dispatch(house.store, house.standby())
        case "a person's":
            house.standby()
            query(house.store, "update dispatches set by_person = true")
        case "of the last hour":
            house.standby("2027-03-01T11:00:00Z/now")
    assert house.trigger() == "2027-03-01T12:20:00Z"


def test_the_hour_is_handed_over_without_a_hole(house: House) -> None:
    """As soon as the next one is up it takes over; where it is not, the last one goes on."""
    house.at(59, 40)
    house.standby()
    assert house.trigger() == THIS_HOUR
    house.at(60, 20)
    query(house.store, "update dispatches set heartbeat_at = statement_timestamp()")
    assert house.trigger() == THIS_HOUR
    house.standby(NEXT_HOUR)
    assert house.trigger() == NEXT_HOUR


def test_a_schedule_that_is_triggered_as_it_is_created_joins_it(house: House) -> None:
    house.standby()
    cadence = Cadence(interval_seconds=86_400)
    draft = a_draft(name="at-once", cadence=cadence, trigger_immediately=True)
    Schedules(house.store, RULES).create(an_agent(house.store).id, draft, {})
    assert one(house.store, "select slice_key from fires") == THIS_HOUR


@pytest.mark.parametrize("up", [True, False])
def test_a_redrive_joins_it_or_the_backlog(house: House, up: bool) -> None:
    if up:
        house.standby()
    key = a_slice(house.store, NOON)
    run = a_dispatch(house.store, key, finished=True)
    schedule = a_schedule(house.store, stopped=True)
    fire = a_fire(house.store, schedule, key, NOON, FireState.FAILED, run=run)
    Triggers(house.store).redrive(fire)
    assert house.slice_of(fire) == (THIS_HOUR if up else "2027-03-01T12:20:00Z/backlog")


def test_a_fire_that_is_released_joins_it(house: House) -> None:
    house.standby()
    policies = Policies(overlap_policy=OverlapPolicy.BUFFER_ONE)
    schedule = a_schedule(house.store, stopped=True, policies=policies)
    key = a_slice(house.store, NOON + timedelta(minutes=20))
    run = a_dispatch(house.store, key)
    nominal = NOON + timedelta(minutes=20)
    ahead = a_fire(house.store, schedule, key, nominal - seconds(1), FireState.CLAIMED, run=run)
    waits = a_fire(house.store, schedule, key, nominal, FireState.WAITING)
    query(house.store, "update schedule_clock set waiting_count = 1")
    outcome = Outcome(
        fire_id=ahead,
        schedule_id=schedule.id,
        state=FireState.FAILED,
        reason=FireReason.UNREACHABLE,
        attempts=5,
        lets_next_go=True,
    )
    house.store.run(lambda tx: write_outcomes(tx, [outcome], run))
    assert (see_fire(house.store, waits).state, house.slice_of(waits)) == ("planned", THIS_HOUR)


def planned_into(house: House, schedule: Schedule) -> dict[str, int]:
    """How many fires of it are in which slices."""
    rows = query(
        house.store,
        "select slice_key, count(*) as n from fires where schedule_id = :id group by 1",
        id=schedule.id,
    )
    return {row.slice_key: row.n for row in rows}


def create(house: House, every: int) -> Schedule:
    draft = a_draft(name="made", cadence=Cadence(interval_seconds=every))
    return Schedules(house.store, RULES).create(an_agent(house.store).id, draft, {}).schedule


def test_what_joins_a_minute_late_and_is_due_before_a_run_can_be_up_joins_the_standby(
    house: House,
) -> None:
    house.standby()
    made = create(house, every=4)
    # Due at :04, :08 and :12 to :56; and the next minute's when that comes within reach.
    assert planned_into(house, made) == {THIS_HOUR: 2, "2027-03-01T12:20:00Z": 12}


def test_where_its_own_minutes_run_is_up_a_late_joiner_is_that_runs(house: House) -> None:
    house.standby()
    a_dispatch(house.store, a_slice(house.store, NOON + timedelta(minutes=20)))
    assert planned_into(house, create(house, every=4)) == {"2027-03-01T12:20:00Z": 14}


def test_a_late_joiner_that_an_edit_moves_goes_to_its_own_minute(house: House) -> None:
    house.standby()
    made = create(house, every=8)
    assert planned_into(house, made)[THIS_HOUR] == 1
    given = {"jitter_seconds": 7}
    Editor(house.store, RULES).update(made.agent_id, made.id, partial(patched, given=given), {})
    nominal = NOON + timedelta(minutes=20, seconds=8)
    (moved,) = query(
        house.store, "select due_at, slice_key from fires where nominal_at = :at", at=nominal
    )
    assert moved.due_at > nominal
    assert moved.slice_key == "2027-03-01T12:20:00Z"


ALL = Policies(catchup_policy=CatchupPolicy.ALL)


@pytest.mark.parametrize(("most", "key"), [(200, THIS_HOUR), (5, "2027-03-01T12:20:00Z/backlog")])
def test_a_few_that_an_outage_missed_join_it_and_a_crowd_gets_a_run_of_its_own(
    house: House, monkeypatch: pytest.MonkeyPatch, most: int, key: str
) -> None:
    monkeypatch.setattr(standby, "MOST_AT_ONCE", most)
    house.standby()
    behind = NOON + timedelta(minutes=10)
    schedule = a_schedule(house.store, every=60, clock_at=behind, policies=ALL)
    Planner(house.store, RULES).plan(lambda: False)
    assert planned_into(house, schedule)[key] >= 9


def test_what_a_tick_plans_in_time_joins_no_standby(house: House) -> None:
    house.standby()
    house.at(20, 35)
    schedule = a_schedule(house.store, every=5, clock_at=NOON + timedelta(minutes=21))
    Planner(house.store, RULES).plan(lambda: False)
    assert set(planned_into(house, schedule)) == {"2027-03-01T12:21:00Z"}


@pytest.mark.parametrize("act", ["trigger", "tick"])
def test_the_standby_is_told_of_what_joins_it_a_ticks_late_joiners_too(
    house: House, act: str
) -> None:
    house.standby()
    schedule = a_schedule(house.store, every=5, clock_at=NOON + timedelta(minutes=20))
    ear = house.store.ear()
    assert ear.open()
    if act == "trigger":
        house.trigger(schedule)
    else:
        Planner(house.store, RULES).plan(lambda: False)
    assert ear.wait(5) == {THIS_HOUR}
    ear.close()


# --- at work --------------------------------------------------------------------------------------


def an_hour(store: PostgresStore) -> str:
    """The present hour's slice."""
    now = database_now(store)
    return a_slice(store, now.replace(minute=0), SliceKind.NOW)


def test_twenty_triggers_of_one_schedule_at_once_are_twenty_deliveries(
    store: PostgresStore,
) -> None:
    key = an_hour(store)
    schedule = a_schedule(store, stopped=True)
    made: list[str] = []

    async def trigger(worker: SliceWorker, _dispatch: Dispatch) -> None:
        triggers = Triggers(store)
        for _ in range(20):
            made.append(await asyncio.to_thread(triggers.trigger, schedule.agent_id, schedule.id))
        await until(lambda: len(platform.sent) >= 20)
        worker.stop()

    platform = Platform()
    work_alone(store, key, platform, beside=trigger, ends_in=STANDS_FOR, standby=True)
    assert sorted(platform.sent) == sorted(made)
    assert one(store, "select count(distinct slice_key) from fires") == 1


def test_a_standby_ends_at_the_switch_and_what_it_has_in_hand_is_seen_to_its_end(
    store: PostgresStore,
) -> None:
    key = an_hour(store)
    schedule = a_schedule(store, stopped=True)
    fire = a_fire(store, schedule, key, database_now(store))

    async def switched_off(_assignment: object) -> str:
        turn = partial(Switches(store).turn, None, off=True, actor={}, note=None)
        await asyncio.to_thread(turn)
        return "done"

    work_alone(store, key, Platform(send=switched_off), ends_in=STANDS_FOR, standby=True)
    assert see_fire(store, fire).state == "delivered"


def test_one_agents_switch_does_not_end_it(store: PostgresStore) -> None:
    key = an_hour(store)
    agent = an_agent(store)
    Switches(store).turn(agent.id, off=True, actor={}, note=None)
    schedule = a_schedule(store, stopped=True)
    made: list[str] = []

    async def trigger(worker: SliceWorker, _dispatch: Dispatch) -> None:
        await asyncio.sleep(0.3)
        made.append(Triggers(store).trigger(schedule.agent_id, schedule.id))
        await until(lambda: platform.sent == made)
        worker.stop()

    platform = Platform()
    work_alone(store, key, platform, beside=trigger, ends_in=STANDS_FOR, standby=True)
    assert platform.sent == made


def test_a_persons_run_of_a_standbys_hour_delivers_what_failed_and_ends(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = an_hour(store)
    run = a_dispatch(store, key, finished=True)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    fire = a_fire(store, schedule, key, database_now(store), FireState.FAILED, run=run)
    with a_dispatcher(database_url, key, by_person=True) as dispatcher:
        dispatcher.dispatch()
    assert see_fire(store, fire).state == "delivered"
    assert [i["idempotency_key"] for i in inputs(recorder, [f"{fire}#r1"])] == [f"{fire}#r1"]


def test_ends_are_recorded_while_it_stands(
    store: PostgresStore, database_url: str, recorder: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "RECORD_SECONDS", 0.05)
    key = an_hour(store)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    fire = a_fire(store, schedule, key, database_now(store))
    recorded: list[str] = []
    with a_dispatcher(database_url, key) as dispatcher:
        trail = dispatcher.audit_trail()

        def record() -> None:
            if not recorded:
                recorded.append("the first try fails")
                raise ZeroDivisionError
            recorded.extend(each.fire.id for batch in trail.batches() for each in batch)
            if fire in recorded:
                Switches(store).turn(None, off=True, actor={}, note=None)

        dispatcher.dispatch(record)
    assert recorded[1:] == [fire]
    assert see_fire(store, fire).recorded


def test_a_minutes_run_records_when_it_is_over_and_not_before(
    store: PostgresStore, database_url: str, recorder: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "RECORD_SECONDS", 0.01)
    key = a_slice(store, database_now(store) - timedelta(minutes=2))
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    a_fire(store, schedule, key, database_now(store) + seconds(0.5))
    calls: list[float] = []
    with a_dispatcher(database_url, key) as dispatcher:
        dispatcher.dispatch(lambda: calls.append(time.monotonic()))
    assert calls == []


def test_a_standby_that_was_declared_dead_records_nothing_more(
    store: PostgresStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "RECORD_SECONDS", 0.02)
    key = an_hour(store)
    threads = threading.active_count()
    with a_dispatcher(database_url, key) as dispatcher:
        trail = dispatcher.audit_trail()

        def record() -> None:
            end_dispatch(store, "run-1")
            list(trail.batches())

        with pytest.raises(DispatchEnded):
            dispatcher.dispatch(record)
    assert threading.active_count() <= threads + 1


def test_the_next_hours_standby_and_the_last_ones_deliver_each_fire_once(
    store: PostgresStore,
) -> None:
    """Both up at the hour: each fire is one slice's, and so one run's."""
    now = database_now(store).replace(minute=0)
    keys = [a_slice(store, now - n * timedelta(hours=1), SliceKind.NOW) for n in (1, 0)]
    schedules = [a_schedule(store, stopped=True) for _ in range(20)]
    fires = [
        a_fire(store, schedule, keys[n % 2], database_now(store) + seconds(0.5 + n / 40))
        for n, schedule in enumerate(schedules)
    ]
    platform = Platform()
    workers = [
        threading.Thread(
            target=partial(work_alone, store, key, platform, run=key, ends_in=1.5, standby=True)
        )
        for key in keys
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(platform.sent) == sorted(fires)


def test_slices_of_an_hour_may_be_named_so_in_the_database(store: PostgresStore) -> None:
    key = an_hour(store)
    row = query(store, "select * from slices where slice_key = :key", key=key)[0]
    assert (row.kind, row.ends_at - row.starts_at) == ("now", timedelta(hours=1))
    assert slice_of(key) == Slice(SliceKind.NOW, row.starts_at)
