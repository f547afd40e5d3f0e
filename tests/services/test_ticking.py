"""The tick: emission, healing, and who may declare whom dead."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from schedules_pipeline.domain.emission import Emission
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.slices import SliceKind, floor_minute
from schedules_pipeline.errors import AnotherTick
from schedules_pipeline.services.stored import EndedRun, Heartbeat
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock, may_declare_death, next_heartbeat
from schedules_pipeline.store.unit_of_work import TICK_LOCK, PostgresStore
from tests.ledger import (
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    end_dispatch,
    many_fires,
    one,
    past_slice,
    query,
    seconds,
    the_clock_ticked,
)


def tick(store: PostgresStore, *ended: EndedRun) -> Sequence[Emission]:
    return Clock(store, RULES, Tasks(store).not_final).tick(lambda _since: ended)


def keys(emissions: Sequence[Emission]) -> list[str]:
    return [emission.slice_key for emission in emissions]


def emission_comes_due(store: PostgresStore) -> None:
    """As much time passes as a slice's next try needs."""
    query(store, "update slices set emit_after = statement_timestamp()")


# --- planning and emitting ------------------------------------------------------------------------


def test_a_tick_plans_and_hands_over_what_begins_within_the_horizon(store: PostgresStore) -> None:
    now = database_now(store)
    schedule = a_schedule(store, every=5, clock_at=now)
    emissions = tick(store)
    starts = [datetime.fromisoformat(key) for key in keys(emissions)]
    assert starts[-1] <= database_now(store) + RULES.horizon
    assert starts == sorted(starts)
    assert {each.run_key for each in emissions} == set(keys(emissions))
    agent = one(store, "select a.name from agents a join agent_run_schedules s on a.id = agent_id")
    assert {each.agent for each in emissions} == {agent}
    counted = query(store, "select slice_key, count(*) as n from fires group by slice_key")
    assert {each.slice_key: each.fire_count for each in emissions} == {
        row.slice_key: row.n for row in counted if row.slice_key in keys(emissions)
    }
    assert schedule.id


def test_at_most_three_slices_go_out_and_at_most_one_that_is_not_live(
    store: PostgresStore,
) -> None:
    agent = an_agent(store)
    # At two minutes' distance of the next, whenever this runs.
    backlog = [past_slice(store, minutes_ago=n) for n in (30, 20, 10)]
    now = database_now(store)
    live = [a_slice(store, now, kind) for kind in (SliceKind.MINUTE, SliceKind.SYNC)]
    for key in backlog + live:
        many_fires(store, agent, key, 1)
    first = keys(tick(store))
    if floor_minute(database_now(store)) == floor_minute(now):
        assert first == [*sorted(live), backlog[0]]
    assert len(first) <= 3
    assert keys(tick(store)) == backlog[1:]
    assert keys(tick(store)) == []


def test_a_slice_whose_run_never_began_is_emitted_again_later_under_another_run_key(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 1)
    waits, run_keys = [], []
    for _ in range(8):
        (emission,) = tick(store)
        run_keys.append(emission.run_key)
        after = one(store, "select emit_after from slices")
        assert after == emission.emit_after
        waits.append(round((after - database_now(store)).total_seconds(), -1))
        assert tick(store) == []
        emission_comes_due(store)
    assert waits == [20, 40, 80, 160, 320, 600, 600, 600]
    assert run_keys == [key, *(f"{key}/retry-{n}" for n in range(1, 8))]


def test_a_slice_with_a_live_run_is_left_to_it(store: PostgresStore) -> None:
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 1)
    run = a_dispatch(store, key)
    assert tick(store) == []
    end_dispatch(store, run)
    assert keys(tick(store)) == [key]


def test_the_first_time_its_run_ended_a_slice_is_emitted_at_once(store: PostgresStore) -> None:
    key = past_slice(store)
    fires = many_fires(store, an_agent(store), key, 1)
    the_clock_ticked(store, ago=5, series=60)
    (first,) = tick(store)
    run = a_dispatch(store, key)
    query(
        store,
        "update fires set state = 'claimed', claimed_by = :run, claimed_at = now()",
        run=run,
    )
    assert tick(store) == []
    (second,) = tick(store, EndedRun(dagster_run_id=run, slice_key=key))
    assert (first.run_key, second.run_key) == (key, f"{key}/retry-1")
    assert second.fire_count == len(fires)
    # The second time it keeps its distance.
    again = a_dispatch(store, key)
    assert tick(store, EndedRun(dagster_run_id=again, slice_key=key)) == []


def test_a_slice_whose_runs_are_killed_at_their_work_is_never_given_up_for_minutes(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    fires = many_fires(store, an_agent(store), key, 6)
    the_clock_ticked(store, ago=5, series=60)
    (emission,) = tick(store)
    for fire in fires[:5]:
        run = a_dispatch(store, key)
        query(
            store,
            """
            update fires set state = 'missed', reason = 'stale', finished_at = statement_timestamp()
            where id = :id
            """,
            id=fire,
        )
        ended = EndedRun(dagster_run_id=run, slice_key=key)
        (emission,) = tick(store, ended)
        waits = (emission.emit_after - database_now(store)).total_seconds()
        assert round(waits, -1) == 20
    assert emission.run_key == f"{key}/retry-5"


def test_a_run_that_dagster_says_ended_before_it_began_is_healed_at_once(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 1)
    the_clock_ticked(store, ago=5, series=60)
    tick(store)
    (again,) = tick(store, EndedRun(dagster_run_id="stillborn", slice_key=key))
    assert again.run_key == f"{key}/retry-1"
    # Dagster says it again with every tick for a minute.
    assert tick(store, EndedRun(dagster_run_id="stillborn", slice_key=key)) == []


def test_settled_slices_are_never_emitted_and_who_joins_unsettles_them(
    store: PostgresStore,
) -> None:
    key = past_slice(store, settled_at=database_now(store))
    many_fires(store, an_agent(store), key, 1)
    assert tick(store) == []
    # A clock 30 s behind joins the slice of the minute before, settled or not.
    now = database_now(store)
    # On the second, so that its first occurrence lies in that very minute.
    behind = (now - seconds(30)).replace(microsecond=0)
    before = a_slice(store, behind, settled_at=now)
    schedule = a_schedule(store, every=1, clock_at=behind)
    emitted = keys(tick(store))
    assert before in emitted
    assert one(store, "select settled_at from slices where slice_key = :k", k=before) is None
    assert one(store, "select count(*) from fires where schedule_id = :id", id=schedule.id) > 30


def test_slices_with_nothing_left_to_do_settle_without_a_run(store: PostgresStore) -> None:
    key = past_slice(store)
    assert tick(store) == []
    assert one(store, "select settled_at is not null from slices where slice_key = :k", k=key)


def test_a_skip_is_owed_its_record(store: PostgresStore) -> None:
    key = past_slice(store)
    schedule = a_schedule(store, stopped=True)
    a_fire(store, schedule, key, database_now(store), FireState.SKIPPED)
    assert keys(tick(store)) == [key]


def test_the_loser_of_two_ticks_at_once_emits_nothing(store: PostgresStore) -> None:
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 1)
    with store.transaction() as connection:
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({TICK_LOCK})")
        with pytest.raises(AnotherTick, match=r"^Another tick is running\.$"):
            tick(store)
        assert query(store, "select 1 from clock_heartbeat") == []
    assert keys(tick(store)) == [key]


def test_ticks_at_once_hand_each_slice_over_once(store: PostgresStore) -> None:
    agent, present = an_agent(store), floor_minute(database_now(store))
    for minutes in range(2, 12):
        key = a_slice(store, present - timedelta(minutes=minutes))
        many_fires(store, agent, key, 1)
        emitted: list[str] = []
        start = threading.Barrier(3)

        def one_tick(start: threading.Barrier = start, emitted: list[str] = emitted) -> None:
            start.wait()
            with suppress(AnotherTick):
                emitted += keys(tick(store))

        threads = [threading.Thread(target=one_tick) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert emitted == [key]


# --- the heartbeat of the clock -------------------------------------------------------------------

NOON = datetime.fromisoformat("2026-06-24T12:00:00+00:00")


@pytest.mark.parametrize(
    ("pause", "unbroken"), [(0, True), (5, True), (25, True), (25.1, False), (-1, False)]
)
def test_a_series_breaks_when_a_tick_is_late_or_the_clock_goes_back(
    pause: float, unbroken: bool
) -> None:
    last = Heartbeat(ticked_at=NOON, tick_no=7, series_since=NOON - timedelta(hours=1))
    now = NOON + seconds(pause)
    following = next_heartbeat(last, now)
    assert following.ticked_at == now
    assert following.tick_no == 8
    assert following.series_since == (last.series_since if unbroken else now)


def test_the_first_tick_begins_a_series_and_may_not_declare_death() -> None:
    assert next_heartbeat(None, NOON) == Heartbeat(ticked_at=NOON, tick_no=1, series_since=NOON)
    assert not may_declare_death(None, NOON)


@pytest.mark.parametrize(("series", "may"), [(14.9, False), (15, True), (600, True)])
def test_death_is_declared_at_the_end_of_a_series_of_at_least_15_s(
    series: float, may: bool
) -> None:
    last = Heartbeat(ticked_at=NOON - seconds(5), tick_no=7, series_since=NOON - seconds(series))
    assert may_declare_death(last, NOON) is may


def test_every_tick_writes_the_heartbeat(store: PostgresStore) -> None:
    tick(store)
    tick(store)
    beat = store.run(lambda tx: tx.heartbeat.read())
    assert beat is not None
    assert beat.tick_no == 2
    assert beat.series_since < beat.ticked_at <= database_now(store)


# --- death ----------------------------------------------------------------------------------------


def dead(store: PostgresStore, run: str) -> bool:
    return bool(
        one(
            store,
            "select finished_at is not null from dispatches where dagster_run_id = :run",
            run=run,
        )
    )


@pytest.mark.parametrize(
    ("silent_for", "last_tick", "series", "dies"),
    [
        (31, 5, 15, True),
        (29, 5, 600, False),  # not yet
        (31, 5, 5, False),  # the clock has not had the database for long enough itself
        (300, 26, 600, False),  # nor now: this tick comes after an outage
        (300, 24, 600, True),
        # An outage of 22 s between two ticks of one series: at the last one its beat was timely.
        (32, 22, 600, False),
        (34.5, 22, 600, True),
    ],
)
def test_a_silent_run_is_dead_when_the_clock_had_the_database_all_along(
    store: PostgresStore, silent_for: float, last_tick: float, series: float, dies: bool
) -> None:
    run = a_dispatch(store, past_slice(store), heartbeat_age=silent_for)
    the_clock_ticked(store, ago=last_tick, series=series)
    tick(store)
    assert dead(store, run) is dies


def test_after_an_outage_the_next_unbroken_series_tells_the_dead_from_the_living(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    silent = a_dispatch(store, key, heartbeat_age=120)
    alive = a_dispatch(store, key, heartbeat_age=120)
    the_clock_ticked(store, ago=100, series=3_600)
    tick(store)
    assert not dead(store, silent)
    # 16 s later, with ticks in between; the living has beaten meanwhile.
    store.run(lambda tx: tx.dispatches.heartbeat(alive))
    query(
        store,
        "update clock_heartbeat set ticked_at = ticked_at - interval '1 s', "
        "series_since = series_since - interval '16 s'",
    )
    tick(store)
    assert dead(store, silent)
    assert not dead(store, alive)


def test_a_dead_runs_slice_is_emitted_by_the_tick_that_declares_it_dead(
    store: PostgresStore,
) -> None:
    later = database_now(store) + seconds(15)
    key = past_slice(store, emit_count=1, fruitless_count=1, emit_after=later)
    run = a_dispatch(store, key, heartbeat_age=31)
    many_fires(store, an_agent(store), key, 2, state=FireState.CLAIMED, run=run)
    the_clock_ticked(store, ago=5, series=60)
    (emission,) = tick(store)
    assert (emission.run_key, emission.fire_count) == (f"{key}/retry-1", 2)


def test_dagster_is_asked_for_what_ended_since_a_minute_before_the_last_tick(
    store: PostgresStore,
) -> None:
    asked: list[datetime] = []

    def ended(since: datetime) -> Sequence[EndedRun]:
        asked.append(since)
        return ()

    Clock(store, RULES, Tasks(store).not_final).tick(ended)
    assert asked == []  # Nothing was ever started.
    first = one(store, "select ticked_at from clock_heartbeat")
    Clock(store, RULES, Tasks(store).not_final).tick(ended)
    assert asked == [first - seconds(60)]
