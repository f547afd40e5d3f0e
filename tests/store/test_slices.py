"""Slices in the database: what they owe, and when one is settled."""

from datetime import timedelta

import pytest

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.slices import Slice, SliceKind, floor_minute
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    HORIZON,
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    many_fires,
    one,
    past_slice,
    query,
    seconds,
)


def owing(store: PostgresStore) -> dict[str, int]:
    """What each slice owes."""
    found = store.run(lambda tx: tx.slices.owing(tx.now(), HORIZON))
    return {each.key: each.fire_count for each in found}


@pytest.mark.parametrize(
    ("state", "run"),
    [
        (FireState.PLANNED, None),
        (FireState.CLAIMED, "dead"),
        (FireState.TASK_CREATED, "dead"),
        (FireState.DELIVERED, "dead"),  # its record
        (FireState.SKIPPED, None),
        (FireState.FAILED, "dead"),
    ],
)
def test_a_slice_owes_what_is_open_and_what_is_not_recorded(
    store: PostgresStore, state: FireState, run: str | None
) -> None:
    key = past_slice(store)
    a_dispatch(store, key, "dead", finished=True)
    fire = a_fire(store, a_schedule(store), key, database_now(store), state, run=run)
    assert owing(store) == {key: 1}
    if state in (FireState.DELIVERED, FireState.SKIPPED, FireState.FAILED):
        query(store, "update fires set recorded_at = now() where id = :id", id=fire)
        assert owing(store) == {}


def test_a_slice_that_a_live_run_works_is_nobody_elses(store: PostgresStore) -> None:
    key = past_slice(store)
    run = a_dispatch(store, key)
    many_fires(store, an_agent(store), key, 2)
    assert owing(store) == {}
    query(store, "update dispatches set finished_at = now() where dagster_run_id = :r", r=run)
    assert owing(store) == {key: 2}


def test_what_a_run_elsewhere_holds_alive_is_not_owed(store: PostgresStore) -> None:
    key, elsewhere = past_slice(store), past_slice(store, minutes_ago=3)
    run = a_dispatch(store, elsewhere)
    many_fires(store, an_agent(store), key, 1, state=FireState.CLAIMED, run=run)
    assert owing(store) == {}


def test_a_slice_waits_for_its_time_and_for_its_emit_after(store: PostgresStore) -> None:
    now = database_now(store)
    agent = an_agent(store)
    far = a_slice(store, now + timedelta(minutes=3))
    later = past_slice(store, emit_after=now + seconds(30))
    near = a_slice(store, now + HORIZON)
    for key in (far, later):
        many_fires(store, agent, key, 1)
    assert owing(store) == {}
    many_fires(store, agent, near, 1)
    assert (near in owing(store)) == (floor_minute(now + HORIZON) <= now + HORIZON)


def test_minutes_that_are_not_over_are_live_and_come_first(store: PostgresStore) -> None:
    now = database_now(store)
    agent = an_agent(store)
    kinds = [
        (past_slice(store), False),
        (a_slice(store, now, SliceKind.BACKLOG), False),
        (a_slice(store, now), True),
        (a_slice(store, now, SliceKind.SYNC), True),
    ]
    for key, _ in kinds:
        many_fires(store, agent, key, 1)
    found = store.run(lambda tx: tx.slices.owing(tx.now(), HORIZON))
    live = {each.key: each.live for each in found}
    if floor_minute(database_now(store)) == floor_minute(now):
        assert live == dict(kinds)
        assert [each.live for each in found] == [True, True, False, False]
    assert found[0].agents == (agent.name,)


def settled(store: PostgresStore, key: str) -> bool:
    store.run(lambda tx: tx.slices.settle([key]))
    return bool(
        one(store, "select settled_at is not null from slices where slice_key = :key", key=key)
    )


def test_a_slice_settles_when_it_is_over_and_everything_in_it_is_recorded(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    run = a_dispatch(store, key, finished=True)
    fire = a_fire(store, a_schedule(store), key, database_now(store), FireState.DELIVERED, run=run)
    assert not settled(store, key)
    query(store, "update fires set recorded_at = now() where id = :id", id=fire)
    assert settled(store, key)
    present = a_slice(store, database_now(store) + timedelta(minutes=1))
    assert not settled(store, present)


@pytest.mark.parametrize("state", [FireState.PLANNED, FireState.CLAIMED, FireState.TASK_CREATED])
def test_nothing_open_lets_a_slice_settle(store: PostgresStore, state: FireState) -> None:
    key = past_slice(store)
    run = a_dispatch(store, key, finished=True)
    many_fires(store, an_agent(store), key, 1, state=state, run=run)
    assert not settled(store, key)


def test_who_joins_a_settled_slice_takes_that_back(store: PostgresStore) -> None:
    key = past_slice(store)
    assert settled(store, key)
    minute = floor_minute(database_now(store)) - timedelta(minutes=2)
    store.run(lambda tx: tx.slices.open([Slice(SliceKind.MINUTE, minute)], tx.now()))
    assert not one(store, "select settled_at is not null from slices")
    # And what it knew of its emissions stays.
    assert one(store, "select count(*) from slices") == 1


def test_slices_that_owe_do_not_stand_before_those_that_can_settle(store: PostgresStore) -> None:
    agent = an_agent(store)
    for minutes in range(3, 9):
        many_fires(store, agent, past_slice(store, minutes_ago=minutes), 1)
    key = past_slice(store)
    assert store.run(lambda tx: tx.slices.over_but_open(tx.now(), 5)) == [key]


def test_only_the_first_reemission_is_hastened(store: PostgresStore) -> None:
    now = database_now(store)
    later = now + seconds(60)
    once = {"emit_count": 1, "fruitless_count": 1, "emit_after": later}
    twice = {"emit_count": 2, "fruitless_count": 2, "emit_after": later}
    first = past_slice(store, minutes_ago=2, **once)
    second = past_slice(store, minutes_ago=3, **twice)
    done = past_slice(store, minutes_ago=4, **once, settled_at=now)
    store.run(lambda tx: tx.slices.hasten([first, second, done], now))
    rows = query(store, "select slice_key, emit_after from slices")
    assert {row.slice_key: row.emit_after for row in rows} == {
        first: now,
        second: later,
        done: later,
    }


def test_of_too_many_open_fires_each_agents_earliest_are_seen(store: PostgresStore) -> None:
    key = past_slice(store)
    crowd = many_fires(store, an_agent(store), key, 20, due_in=-30)
    few = many_fires(store, an_agent(store), key, 2, due_in=-1)
    seen = store.run(lambda tx: tx.claims.open_in(key, "run", 6))
    assert {fire.id for fire in seen} == {*few, *sorted(crowd)[:4]}
