"""Dispatches in the database: begun once, ended once, and fenced in between."""

import pytest

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.errors import DispatchEnded
from schedules_pipeline.services.stored import EndedRun, Outcome
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    a_dispatch,
    an_agent,
    database_now,
    end_dispatch,
    many_fires,
    one,
    past_slice,
    query,
    schedule_of,
    seconds,
    see_fire,
)


def begin(store: PostgresStore, run: str, key: str, *, pid: int = 1) -> bool:
    return store.run(
        lambda tx: tx.dispatches.begin(run, key, by_person=False, host="here", pid=pid)
    )


def test_a_run_begins_on_a_slice_that_exists_and_again_only_in_the_same_process(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    assert begin(store, "run", key)
    assert begin(store, "run", key)
    # Dagster may start one run twice; each would take the other's fires for its own.
    assert not begin(store, "run", key, pid=2)
    assert not begin(store, "other", "2020-01-01T00:00:00Z")
    end_dispatch(store, "run")
    assert not begin(store, "run", key)


def test_a_run_that_was_declared_ended_before_it_began_does_not_begin(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    ended = [EndedRun(dagster_run_id="slow", slice_key=key)]
    assert store.run(lambda tx: tx.dispatches.finish_ended(ended)) == {"slow": key}
    assert not begin(store, "slow", key)
    assert not store.run(lambda tx: tx.dispatches.heartbeat("slow"))


def test_an_end_is_acted_on_once(store: PostgresStore) -> None:
    key = past_slice(store)
    run = a_dispatch(store, key)
    unknown = EndedRun(dagster_run_id="x", slice_key="2020-01-01T00:00:00Z")
    ended = [EndedRun(dagster_run_id=run, slice_key=key), unknown]
    assert store.run(lambda tx: tx.dispatches.finish_ended(ended)) == {run: key}
    first = one(store, "select finished_at from dispatches")
    assert store.run(lambda tx: tx.dispatches.finish_ended(ended)) == {}
    store.run(lambda tx: tx.dispatches.finish(run))
    assert one(store, "select finished_at from dispatches") == first


def test_only_the_silent_are_declared_dead_and_only_once(store: PostgresStore) -> None:
    key, other = past_slice(store), past_slice(store, minutes_ago=3)
    a_dispatch(store, key, "silent", heartbeat_age=31)
    a_dispatch(store, other, "alive", heartbeat_age=29)
    since = database_now(store) - seconds(30)
    assert store.run(lambda tx: tx.dispatches.declare_dead(since)) == {key}
    assert store.run(lambda tx: tx.dispatches.declare_dead(since)) == set()
    rows = query(store, "select dagster_run_id from dispatches where finished_at is null")
    assert [row.dagster_run_id for row in rows] == ["alive"]


def test_a_heartbeat_is_the_databases_time(store: PostgresStore) -> None:
    run = a_dispatch(store, past_slice(store), heartbeat_age=20)
    before = database_now(store)
    assert store.run(lambda tx: tx.dispatches.heartbeat(run))
    assert before <= one(store, "select heartbeat_at from dispatches") <= database_now(store)


def test_whoever_ended_proves_nothing_and_has_no_heart(store: PostgresStore) -> None:
    run = a_dispatch(store, past_slice(store))
    store.run(lambda tx: tx.dispatches.require_live(run))
    end_dispatch(store, run)
    with pytest.raises(DispatchEnded, match=run):
        store.run(lambda tx: tx.dispatches.require_live(run))
    assert not store.run(lambda tx: tx.dispatches.heartbeat(run))


def test_an_unknown_run_is_no_live_one(store: PostgresStore) -> None:
    with pytest.raises(DispatchEnded):
        store.run(lambda tx: tx.dispatches.require_live("nobody"))


def test_an_outcome_touches_only_what_its_run_holds(store: PostgresStore) -> None:
    key = past_slice(store)
    agent = an_agent(store)
    mine, yours = a_dispatch(store, key), a_dispatch(store, key)
    (held,) = many_fires(store, agent, key, 1, state=FireState.TASK_CREATED, run=mine)
    (taken,) = many_fires(store, agent, key, 1, state=FireState.TASK_CREATED, run=yours)
    outcomes = [
        Outcome(
            fire_id=fire,
            schedule_id=schedule_of(store, fire),
            state=FireState.DELIVERED,
            attempts=1,
        )
        for fire in (held, taken)
    ]
    assert store.run(lambda tx: tx.claims.write_outcomes(outcomes, mine)) == {held}
    assert see_fire(store, taken).state == "task_created"
    # Again (the answer to the commit was lost): the same answer, nothing moves.
    assert store.run(lambda tx: tx.claims.write_outcomes(outcomes, mine)) == {held}
    assert see_fire(store, held).state == "delivered"
