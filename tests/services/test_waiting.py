"""A tick that waits: what ends it, and that each of its rounds is a tick of the clock's series."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

import pytest

from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.emission import Emission
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.errors import Unavailable
from schedules_pipeline.services.backfilling import BackfillOrder, Backfills
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.stored import EndedRun
from schedules_pipeline.services.switching import Switches
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.services.waiting import WaitingClock
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.factories import a_draft
from tests.ledger import (
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    one,
    past_slice,
    query,
    seconds,
    the_clock_ticked,
)

LISTENING = "select count(*) from pg_stat_activity where application_name = 'schedules, listening'"
LONG = 3_600.0


def nobody(_since: datetime) -> Sequence[EndedRun]:
    return ()


def patient(store: PostgresStore, patience: float = 30, rounds: float = LONG) -> WaitingClock:
    """By default it looks once, and again only when it hears something (or the minute ends)."""
    clock = Clock(store, RULES, Tasks(store).not_final)
    return WaitingClock(clock, store.ear, patience_seconds=patience, round_seconds=rounds)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as found:
        yield found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ticks(store: PostgresStore) -> int:
    return int(one(store, "select coalesce(max(tick_no), 0) from clock_heartbeat"))


def waiting(store: PostgresStore, number: int = 1) -> None:
    """Until the tick of that number was, and its evaluation listens."""
    wait_until(lambda: ticks(store) >= number and one(store, LISTENING) > 0)


# --- what ends it ---------------------------------------------------------------------------------


def rarely(store: PostgresStore) -> Schedule:
    """Nothing of it is due for a long time."""
    return a_schedule(store, every=86_400 * 365)


def trigger(store: PostgresStore, schedule: Schedule) -> None:
    Triggers(store).trigger(schedule.agent_id, schedule.id)


def create(store: PostgresStore, schedule: Schedule) -> None:
    draft = a_draft(name="another", cadence=Cadence(interval_seconds=2))
    Schedules(store, RULES).create(schedule.agent_id, draft, {})


def edit(store: PostgresStore, schedule: Schedule) -> None:
    change = partial(patched, given={"interval_seconds": 2})
    Editor(store, RULES).update(schedule.agent_id, schedule.id, change, {})


def backfill(store: PostgresStore, schedule: Schedule) -> None:
    now = database_now(store)
    order = BackfillOrder(from_at=now - timedelta(days=400), to_at=now)
    Backfills(store).start(schedule.agent_id, schedule.id, order, {})


def redrive(store: PostgresStore, schedule: Schedule) -> None:
    failed = one(store, "select id from fires where schedule_id = :id", id=schedule.id)
    Triggers(store).redrive(failed)


def switch_on(store: PostgresStore, _schedule: Schedule) -> None:
    Switches(store).turn(None, off=False, actor={}, note=None)


def nothing(_store: PostgresStore, _schedule: Schedule) -> None:
    pass


def one_failed(store: PostgresStore, schedule: Schedule) -> None:
    key = past_slice(store, settled_at=database_now(store))
    run = a_dispatch(store, key, finished=True)
    at = database_now(store) - seconds(100)
    a_fire(store, schedule, key, at, FireState.FAILED, run=run, recorded_at=at)


def one_planned_and_switched_off(store: PostgresStore, schedule: Schedule) -> None:
    Switches(store).turn(None, off=True, actor={}, note=None)
    key = past_slice(store)
    a_fire(store, schedule, key, database_now(store))


Act = Callable[[PostgresStore, Schedule], None]


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (nothing, trigger),
        (nothing, create),
        (nothing, edit),
        (nothing, backfill),
        (one_failed, redrive),
        (one_planned_and_switched_off, switch_on),
    ],
)
def test_what_a_person_makes_due_ends_the_wait_with_a_run_to_start(
    store: PostgresStore, thread: ThreadPoolExecutor, before: Act, act: Act
) -> None:
    schedule = rarely(store)
    before(store, schedule)
    tick = thread.submit(patient(store).tick, nobody)
    waiting(store)
    assert not tick.done()
    act(store, schedule)
    assert len(tick.result(10)) > 0


def test_an_unskipped_occurrence_ends_the_wait(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    soon = (database_now(store) + seconds(8)).replace(microsecond=0)
    phase = int(soon.timestamp()) % 86_400
    cadence = Cadence(interval_seconds=86_400, interval_phase_seconds=phase)
    schedule = a_schedule(store, cadence=cadence)
    Planner(store, RULES).plan(lambda: False)
    editor = Editor(store, RULES)
    editor.skip(schedule.agent_id, schedule.id, soon, {})
    query(store, "update fires set recorded_at = statement_timestamp()")
    tick = thread.submit(patient(store).tick, nobody)
    waiting(store)
    assert not tick.done()
    editor.unskip(schedule.agent_id, schedule.id, soon, {})
    assert len(tick.result(10)) == 1


def test_the_time_of_the_next_emission_ends_the_wait(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    key = past_slice(store, emit_after=database_now(store) + seconds(1.5))
    a_fire(store, rarely(store), key, database_now(store))
    tick = thread.submit(patient(store).tick, nobody)
    waiting(store)
    assert not tick.done()
    (emission,) = tick.result(10)
    assert emission.slice_key == key


def test_a_tick_that_nothing_came_up_for_ends_when_its_patience_does(store: PostgresStore) -> None:
    rarely(store)
    assert patient(store, patience=0.3).tick(nobody) == []
    # Its connection is closed; the server's process for it may still be ending.
    wait_until(lambda: one(store, LISTENING) == 0)


def test_a_tick_without_patience_looks_once(store: PostgresStore) -> None:
    assert patient(store, patience=0).tick(nobody) == []
    assert one(store, "select tick_no from clock_heartbeat") == 1


# --- what a tick's own work tells -----------------------------------------------------------------


def test_ticks_tell_nothing_of_what_they_plan(store: PostgresStore) -> None:
    a_schedule(store, every=1, clock_at=database_now(store))
    ear = store.ear()
    assert ear.open()
    Planner(store, RULES).plan(lambda: False)
    assert one(store, "select count(*) from fires") > 10
    assert ear.wait(0.2) == set()
    ear.close()


def test_what_is_planned_by_an_edit_and_not_due_soon_waits_for_the_clocks_next_round(
    store: PostgresStore,
) -> None:
    now = database_now(store)
    ear = store.ear()
    assert ear.open()
    draft = a_draft(name="later", cadence=Cadence(fire_at=now + seconds(25)))
    made = Schedules(store, RULES).create(an_agent(store).id, draft, {}).schedule
    assert one(store, "select count(*) from fires where schedule_id = :id", id=made.id) == 1
    assert ear.wait(0.2) == set()
    ear.close()


# --- the series -----------------------------------------------------------------------------------


def test_every_round_of_a_waiting_tick_is_a_tick_of_the_series(store: PostgresStore) -> None:
    the_clock_ticked(store, ago=5, series=60)
    since = one(store, "select series_since from clock_heartbeat")
    patient(store, patience=0.6, rounds=0.1).tick(nobody)
    beat = store.run(lambda tx: tx.heartbeat.read())
    assert beat is not None
    assert beat.tick_no > 3
    assert beat.series_since == since
    assert database_now(store) - beat.ticked_at < seconds(5)


def test_a_run_that_falls_silent_during_a_wait_is_declared_dead_by_it(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    """At the end of its rounds' own series: 15 s of them, without any other tick."""
    key = past_slice(store, emit_count=1, emit_after=database_now(store) + seconds(LONG))
    a_fire(store, rarely(store), key, database_now(store))
    run = a_dispatch(store, key, heartbeat_age=31)
    the_clock_ticked(store, ago=100, series=600)
    before = ticks(store)
    tick = thread.submit(patient(store, rounds=0.2).tick, nobody)
    waiting(store, before + 3)
    silent = "select finished_at is null from dispatches where dagster_run_id = :run"
    assert one(store, silent, run=run), "its series is too young to say so"

    def dead() -> bool:
        # The rounds go on, and 15 s pass. (Again, where a round has just written over it.)
        older = "update clock_heartbeat set series_since = series_since - interval '15 s'"
        query(store, older)
        return not one(store, silent, run=run)

    wait_until(dead)
    Triggers(store).trigger(*_owner(store))
    assert len(tick.result(10)) > 0


def _owner(store: PostgresStore) -> tuple[str, str]:
    (row,) = query(store, "select agent_id, id from agent_run_schedules")
    return row.agent_id, row.id


def test_dagster_is_asked_for_ended_runs_once_in_a_rounds_time_not_for_each_piece_of_news(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    the_clock_ticked(store, ago=5, series=60)
    schedule = rarely(store)
    asked: list[datetime] = []

    def ended(since: datetime) -> Sequence[EndedRun]:
        asked.append(since)
        return ()

    Switches(store).turn(None, off=True, actor={}, note=None)
    before = ticks(store)
    tick = thread.submit(patient(store, patience=3, rounds=2).tick, ended)
    for number in range(1, 4):
        waiting(store, before + number)
        trigger(store, schedule)
    tick.result(10)
    assert len(asked) == 2
    assert ticks(store) > before + 3


def test_a_run_that_dagster_says_ended_is_acted_on_in_mid_wait(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    the_clock_ticked(store, ago=5, series=60)
    later = database_now(store) + seconds(LONG)
    key = past_slice(store, emit_count=1, fruitless_count=1, emit_after=later)
    a_fire(store, rarely(store), key, database_now(store))
    run = a_dispatch(store, key)
    ended: list[EndedRun] = []
    before = ticks(store)
    tick = thread.submit(patient(store, rounds=0.1).tick, lambda _since: list(ended))
    waiting(store, before + 3)
    ended.append(EndedRun(dagster_run_id=run, slice_key=key))
    (emission,) = tick.result(10)
    assert emission.run_key == f"{key}/retry-1"


# --- what goes on around it -----------------------------------------------------------------------


def test_turned_off_in_mid_wait_it_starts_nothing_more(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    schedule = rarely(store)
    on = threading.Event()
    on.set()
    tick = thread.submit(patient(store).tick, nobody, on.is_set)
    waiting(store)
    on.clear()
    trigger(store, schedule)
    assert tick.result(10) == ()
    assert one(store, "select sum(emit_count) from slices") == 0


def test_of_two_evaluations_the_older_leaves_the_work_to_the_newer(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    """Its daemon was restarted: nobody would start what the older one hands over."""
    schedule = rarely(store)
    clock = patient(store)
    older = thread.submit(clock.tick, nobody)
    waiting(store)
    newer: Future[Sequence[Emission]] = thread.submit(clock.tick, nobody)
    wait_until(lambda: one(store, LISTENING) == 2)
    waiting(store, 2)
    trigger(store, schedule)
    assert len(newer.result(10)) == 1
    assert older.result(10) == ()


def test_a_wait_whose_listening_connection_is_lost_goes_on_and_hears_again(
    store: PostgresStore, thread: ThreadPoolExecutor
) -> None:
    schedule = rarely(store)
    tick = thread.submit(patient(store).tick, nobody)
    waiting(store)
    query(
        store,
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'schedules, listening'",
    )
    waiting(store, 2)
    assert not tick.done()
    trigger(store, schedule)
    assert len(tick.result(10)) == 1


def test_a_restart_of_postgres_in_mid_wait_ends_it_and_the_next_tick_goes_on(
    server: EmbeddedPostgres,
) -> None:
    store = PostgresStore(with_driver(server.url, "psycopg"), pool_size=5)
    schedule = rarely(store)
    # The clock in the thread, for the server dies with the thread that started it.
    with ThreadPoolExecutor(1) as thread:
        tick = thread.submit(patient(store).tick, nobody)
        waiting(store)
        server.stop()
        with pytest.raises(Unavailable):
            tick.result(10)
        server.start()
        trigger(store, schedule)
        assert len(thread.submit(patient(store).tick, nobody).result(10)) == 1
    store.close()
