"""Planning on a real ledger: each occurrence once, whoever plans at the same time."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, text

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.occurrences import occurrences
from schedules_pipeline.domain.planning import first_occurrence, plan_schedule
from schedules_pipeline.domain.schedule import AcpType, Schedule
from schedules_pipeline.domain.slices import floor_minute, planning_frontier, utc_stamp
from schedules_pipeline.services import planning as planning_module
from schedules_pipeline.services.planning import Planned, Planner, plan_at_once, write_plans
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests import factories
from tests.ledger import (
    GRACE,
    HORIZON,
    INSTANT,
    RULES,
    a_schedule,
    a_skip,
    an_agent,
    database_now,
    delete_schedule,
    insert_schedules,
    one,
    query,
    seconds,
)


def plan(store: PostgresStore) -> Planned:
    return Planner(store, RULES).plan(lambda: False)


def planned(store: PostgresStore, schedule: Schedule) -> list[datetime]:
    """Nominal times of the schedule's fires."""
    rows = query(
        store,
        "select nominal_at from fires where schedule_id = :id order by nominal_at",
        id=schedule.id,
    )
    return [row.nominal_at for row in rows]


def slices_of(store: PostgresStore, schedule: Schedule) -> list[str]:
    rows = query(
        store,
        "select slice_key from fires where schedule_id = :id order by nominal_at",
        id=schedule.id,
    )
    return [row.slice_key for row in rows]


def clock_of(store: PostgresStore, schedule: Schedule) -> datetime | None:
    found: datetime | None = one(
        store, "select next_nominal_at from schedule_clock where schedule_id = :id", id=schedule.id
    )
    return found


def everything(store: PostgresStore) -> list[object]:
    return [
        *query(store, "select * from fires order by id"),
        *query(store, "select * from gaps order by id"),
        *query(store, "select * from schedule_clock order by schedule_id"),
        *query(store, "select * from slices order by slice_key"),
    ]


@contextmanager
def locked(store: PostgresStore, schedule: Schedule) -> Iterator[None]:
    """Another session holds the schedule's mutex."""
    with store.transaction() as connection:
        connection.execute(
            text("select 1 from schedule_clock where schedule_id = :id for update"),
            {"id": schedule.id},
        )
        yield


# --- what is planned ------------------------------------------------------------------------------


def test_what_is_due_before_the_frontier_gets_its_row_in_its_minute(store: PostgresStore) -> None:
    now = database_now(store)
    schedule = a_schedule(store, every=10, clock_at=now)
    sync = a_schedule(store, an_agent(store, acp_type=AcpType.SYNC), every=10, clock_at=now)

    plan(store)

    expected = list(occurrences(schedule.cadence, now - INSTANT, planning_frontier(now, HORIZON)))
    assert planned(store, schedule) == expected[:-1]
    assert clock_of(store, schedule) == expected[-1]
    minutes = [utc_stamp(floor_minute(nominal)) for nominal in expected[:-1]]
    assert slices_of(store, schedule) == minutes
    assert slices_of(store, sync) == [f"{minute}/sync" for minute in minutes]
    row = query(store, "select * from fires order by nominal_at limit 1")[0]
    assert (row.id, row.idempotency_key) == (
        f"agent-run-schedule:{row.schedule_id}-run-{utc_stamp(row.nominal_at)}",
        row.id,
    )
    assert (row.state, row.due_at, row.owed_at) == ("planned", row.nominal_at, row.nominal_at)


def test_what_was_missed_goes_into_the_present_backlog_owed_from_now(store: PostgresStore) -> None:
    now = database_now(store)
    # Its newest occurrence was 10 minutes ago, its next comes in 50.
    at = now.replace(microsecond=0) - timedelta(minutes=10)
    phase = int(at.timestamp()) % 3_600
    cadence = Cadence(interval_seconds=3_600, interval_phase_seconds=phase)
    schedule = a_schedule(store, cadence=cadence, clock_at=at - timedelta(hours=5))

    plan(store)

    (row,) = query(store, "select * from fires")
    assert (row.nominal_at, row.due_at) == (at, at)
    assert now <= row.owed_at <= database_now(store)
    assert row.slice_key == f"{utc_stamp(floor_minute(row.owed_at))}/backlog"
    (gap,) = query(store, "select * from gaps")
    assert (gap.from_at, gap.to_at, gap.reason) == (at - timedelta(hours=5), at, "coalesced")
    assert clock_of(store, schedule) == at + timedelta(hours=1)


@pytest.mark.parametrize("days", [1, 300])
def test_an_outage_is_one_gap_row_whatever_its_length(store: PostgresStore, days: int) -> None:
    now = database_now(store)
    schedule = a_schedule(store, every=1, clock_at=now - timedelta(days=days))
    plan(store)
    (gap,) = query(store, "select * from gaps")
    assert gap.from_at <= now - timedelta(days=days) + seconds(1)
    fires = planned(store, schedule)
    assert gap.to_at == fires[0]
    assert abs(fires[0] - (now - GRACE)) <= seconds(2)


def test_skips_are_planned_as_skipped_by_user(store: PostgresStore) -> None:
    now = database_now(store)
    schedule = a_schedule(store, every=20, clock_at=now)
    first = clock_of(store, schedule)
    assert first is not None
    a_skip(store, schedule, first)
    plan(store)
    rows = query(store, "select state, reason, finished_at from fires order by nominal_at")
    assert (rows[0].state, rows[0].reason) == ("skipped", "skipped_by_user")
    assert rows[0].finished_at is not None
    assert {row.state for row in rows[1:]} <= {"planned"}


def test_the_window_is_kept_and_an_exhausted_clock_stands_still(store: PostgresStore) -> None:
    now = database_now(store).replace(microsecond=0)
    cadence = Cadence(interval_seconds=1, start_at=now + seconds(3), end_at=now + seconds(5))
    schedule = a_schedule(store, cadence=cadence, clock_at=now)
    plan(store)
    assert planned(store, schedule) == [now + seconds(n) for n in (3, 4, 5)]
    assert clock_of(store, schedule) is None
    before = everything(store)
    plan(store)
    assert everything(store) == before


def test_planning_twice_changes_nothing(store: PostgresStore) -> None:
    now = database_now(store)
    for every, behind in ((1, 0), (7, 30), (60, 4_000), (3_600, 90_000), (60, 59)):
        a_schedule(store, every=every, clock_at=now - seconds(behind))
    plan(store)
    before = everything(store)
    assert plan(store).fires == 0
    frontier = planning_frontier(database_now(store), HORIZON)
    # Unless the frontier moved on meanwhile: then there is more, and none of it again.
    if frontier == planning_frontier(now, HORIZON):
        assert everything(store) == before


def test_a_tick_that_died_between_two_transactions_is_gone_on_with(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning_module, "SCHEDULES_PER_TRANSACTION", 3)
    now = database_now(store)
    schedules = [a_schedule(store, every=3_600, clock_at=now - seconds(3_600)) for _ in range(10)]
    asked = iter([False, False])
    first = Planner(store, RULES).plan(lambda: next(asked, True))
    assert (first.fires, first.complete) == (6, False)
    assert plan(store).complete
    assert all(len(planned(store, schedule)) >= 1 for schedule in schedules)


def test_schedules_that_are_on_time_are_planned_before_those_that_are_behind(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning_module, "SCHEDULES_PER_TRANSACTION", 1)
    now = database_now(store)
    late = a_schedule(store, every=60, clock_at=now - timedelta(days=1))
    on_time = a_schedule(store, every=60, clock_at=now - seconds(59))
    asked = iter([False])
    Planner(store, RULES).plan(lambda: next(asked, True))
    assert planned(store, on_time)
    assert not planned(store, late)


def test_a_schedule_that_cannot_be_planned_stops_nobody_else(store: PostgresStore) -> None:
    lost = a_schedule(store)
    query(
        store,
        "update agent_run_schedules set timezone = 'Europe/Atlantis', interval_seconds = null, "
        "cron_expression = '* * * * *' where id = :id",
        id=lost.id,
    )
    other = a_schedule(store)
    assert plan(store).complete
    assert planned(store, other)
    assert not planned(store, lost)


# --- coverage -------------------------------------------------------------------------------------


def test_after_outages_of_any_length_every_occurrence_is_covered_exactly_once(
    store: PostgresStore,
) -> None:
    chance = random.Random(20_261_123)
    now = database_now(store)
    agent = an_agent(store)
    began: dict[str, tuple[Schedule, datetime]] = {}
    for number in range(120):
        cadence = Cadence(
            interval_seconds=chance.choice([1, 5, 13, 60, 61, 600, 3_600, 5_400, 86_400]),
            jitter_seconds=chance.choice([0, 0, 3, 300]),
        )
        schedule = factories.a_schedule(
            id=f"s{number}", name=f"s{number}", agent_id=agent.id, cadence=cadence
        )
        behind = seconds(chance.choice([0, 30, 59.9, 60.1, 90, 3_000, 7_200, 200_000]))
        first = first_occurrence(schedule, now - behind)
        assert first is not None
        insert_schedules(store, [schedule], first)
        began[schedule.id] = (schedule, first[0])

    plan(store)

    for schedule, first_nominal in began.values():
        clock = clock_of(store, schedule)
        assert clock is not None
        fires = planned(store, schedule)
        gaps = query(store, "select * from gaps where schedule_id = :id", id=schedule.id)
        assert len(gaps) <= 1
        (from_at, to_at) = (gaps[0].from_at, gaps[0].to_at) if gaps else (clock, clock)
        due = [n for n in occurrences(schedule.cadence, max(first_nominal, clock - seconds(20_000))
                                      - INSTANT, clock) if n < clock]  # fmt: skip
        for nominal in due:
            covered = fires.count(nominal) + (from_at <= nominal < to_at)
            assert covered == 1, (schedule.cadence, nominal)
        assert set(fires) <= set(occurrences(schedule.cadence, first_nominal - INSTANT, clock))


# --- who else is at it ----------------------------------------------------------------------------


def test_two_ticks_at_once_plan_each_occurrence_once(store: PostgresStore) -> None:
    agent = an_agent(store)
    rounds, crowd = 12, 40
    counted: list[int] = []
    for number in range(rounds):
        now = database_now(store)
        schedules = [
            replace(
                factories.a_schedule(agent_id=agent.id, cadence=Cadence(interval_seconds=10)),
                id=f"r{number}-{n}",
                name=f"r{number}-{n}",
            )
            for n in range(crowd)
        ]
        first = first_occurrence(schedules[0], now - seconds(30))
        insert_schedules(store, schedules, first)
        start = threading.Barrier(3)

        def tick(start: threading.Barrier = start) -> None:
            start.wait()
            counted.append(plan(store).fires)

        threads = [threading.Thread(target=tick) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(counted) == 3 * rounds
    assert sum(counted) == one(store, "select count(*) from fires") > rounds * crowd * 3
    plan(store)
    doubled = query(
        store, "select 1 from fires group by schedule_id, nominal_at having count(*) > 1"
    )
    assert doubled == []
    # None was left out between the first and the clock.
    holes = query(
        store,
        """
        select c.schedule_id
        from schedule_clock c join fires f on f.schedule_id = c.schedule_id
        group by c.schedule_id, c.next_nominal_at
        having count(*) * interval '10 s' <> c.next_nominal_at - min(f.nominal_at)
        """,
    )
    assert holes == []


def test_a_schedule_that_another_holds_is_passed_over_and_planned_by_the_next_tick(
    store: PostgresStore,
) -> None:
    held, free = a_schedule(store), a_schedule(store)
    with locked(store, held):
        assert plan(store).complete
        assert planned(store, free)
        assert not planned(store, held)
    plan(store)
    assert planned(store, held)


def test_a_schedule_deleted_between_reading_and_locking_gets_no_fire(store: PostgresStore) -> None:
    gone, stays = a_schedule(store), a_schedule(store)
    now = database_now(store)
    frontier = planning_frontier(now, HORIZON)
    readings = store.run(
        lambda tx: tx.clocks.read_due(since=None, until=frontier, after=None, limit=10)
    )
    plans = [
        plan_schedule(reading, now=now, frontier=frontier, grace=GRACE, limit=100)
        for reading in readings
    ]
    assert {each.schedule_id for each in plans} == {gone.id, stays.id}
    delete_schedule(store, gone)
    store.run(lambda tx: write_plans(tx, plans, now))
    assert not planned(store, gone)
    assert clock_of(store, gone) is None
    assert planned(store, stays)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "update agent_run_schedules set version = version + 1",
        "update schedule_clock set next_nominal_at = next_nominal_at + interval '1 min', "
        "next_due_at = next_due_at + interval '1 min'",
        "update schedule_clock set next_nominal_at = null, next_due_at = null",
    ],
)
def test_a_plan_made_from_what_has_changed_since_is_dropped(
    store: PostgresStore, meanwhile: str
) -> None:
    schedule = a_schedule(store)
    now = database_now(store)
    reading = store.run(lambda tx: tx.clocks.read(schedule.id))
    assert reading is not None
    made = plan_schedule(
        reading, now=now, frontier=planning_frontier(now, HORIZON), grace=GRACE, limit=100
    )
    query(store, meanwhile)
    clock = clock_of(store, schedule)
    assert store.run(lambda tx: write_plans(tx, [made], now)) == 0
    assert not planned(store, schedule)
    assert clock_of(store, schedule) == clock


def test_a_writer_plans_what_falls_before_the_frontier_in_its_own_transaction(
    store: PostgresStore,
) -> None:
    soon = a_schedule(store, every=1)
    later = a_schedule(store, every=86_400, clock_at=database_now(store) + timedelta(hours=1))
    for schedule in (soon, later):
        store.run(lambda tx, at=schedule.id: plan_at_once(tx, at, RULES))  # type: ignore[misc]
    assert len(planned(store, soon)) >= 30
    assert not planned(store, later)
    store.run(lambda tx: plan_at_once(tx, "no such schedule", RULES))


def test_fires_are_written_by_few_statements_however_many_they_are(store: PostgresStore) -> None:
    agent = an_agent(store)
    one_schedule = factories.a_schedule(agent_id=agent.id, cadence=Cadence(interval_seconds=10))
    crowd = [replace(one_schedule, id=f"c{n}", name=f"c{n}") for n in range(400)]
    insert_schedules(store, crowd, first_occurrence(crowd[0], database_now(store)))
    with store.transaction() as connection:
        log = connection.engine
    statements: list[str] = []
    event.listen(log, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert plan(store).fires >= 400
    assert len(statements) < 25
