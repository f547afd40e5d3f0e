"""The audit trail: each end is told once, failures by name, and the slice settles."""

import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.errors import DispatchEnded, FiresFailed
from schedules_pipeline.services.auditing import AuditTrail
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    end_dispatch,
    many_fires,
    one,
    past_slice,
    seconds,
    see_fire,
)


@pytest.fixture
def key(store: PostgresStore) -> str:
    return past_slice(store)


@pytest.fixture
def dispatch(store: PostgresStore, key: str) -> Dispatch:
    a_dispatch(store, key, "run-1")
    return Dispatch(store, "run-1", key)


def test_every_end_is_told_once_in_nominal_order(
    store: PostgresStore, key: str, dispatch: Dispatch
) -> None:
    schedule = a_schedule(store, an_agent(store, name="reporter"), name="daily", stopped=True)
    now = database_now(store)
    ends = [FireState.DELIVERED, FireState.SKIPPED, FireState.MISSED, FireState.CANCELLED]
    fires = [
        a_fire(store, schedule, key, now - seconds(n), state, run="run-1")
        for n, state in enumerate(ends)
    ]
    open_fire = a_fire(store, schedule, key, now + seconds(1))

    told = [record for batch in AuditTrail(dispatch).batches() for record in batch]

    assert [record.fire.id for record in told] == fires[::-1]
    assert {(record.agent_name, record.schedule_name) for record in told} == {("reporter", "daily")}
    assert all(see_fire(store, fire).recorded for fire in fires)
    assert not see_fire(store, open_fire).recorded
    assert list(AuditTrail(dispatch).batches()) == []


def test_a_crowd_is_told_in_parts_each_recorded_before_the_next(
    store: PostgresStore, key: str, dispatch: Dispatch
) -> None:
    many_fires(store, an_agent(store), key, 250, state=FireState.DELIVERED, run="run-1")
    batches = AuditTrail(dispatch).batches()
    assert [len(next(batches)), len(next(batches))] == [100, 100]
    assert one(store, "select count(*) from fires where recorded_at is not null") == 100
    # It died here. What was told and not recorded is told again, the rest once.
    assert [len(batch) for batch in AuditTrail(dispatch).batches()] == [100, 50]


def test_failures_are_named_and_others_are_none(
    store: PostgresStore, key: str, dispatch: Dispatch
) -> None:
    schedule = a_schedule(store, an_agent(store, name="reporter"), name="daily", stopped=True)
    now = database_now(store)
    failed = a_fire(
        store,
        schedule,
        key,
        now,
        FireState.FAILED,
        run="run-1",
        reason=FireReason.TIMEOUT,
        attempts=5,
        error="The agent said nothing.",
    )
    a_fire(store, schedule, key, now + seconds(1), FireState.DELIVERED, run="run-1")
    trail = AuditTrail(dispatch)
    list(trail.batches())
    with pytest.raises(FiresFailed) as caught:
        trail.raise_for_failures()
    assert str(caught.value) == (
        "1 fire of this slice failed:\n"
        f"reporter/daily at {now:%Y-%m-%dT%H:%M:%SZ}: timeout after 5 attempts: "
        f"The agent said nothing. ({failed})"
    )


def test_a_slice_without_failures_is_no_failure(
    store: PostgresStore, key: str, dispatch: Dispatch
) -> None:
    many_fires(store, an_agent(store), key, 2, state=FireState.SKIPPED)
    trail = AuditTrail(dispatch)
    list(trail.batches())
    trail.raise_for_failures()


def test_of_many_failures_twenty_are_named(
    store: PostgresStore, key: str, dispatch: Dispatch
) -> None:
    many_fires(store, an_agent(store), key, 25, state=FireState.FAILED, run="run-1")
    trail = AuditTrail(dispatch)
    list(trail.batches())
    with pytest.raises(FiresFailed, match=r"^25 fires") as caught:
        trail.raise_for_failures()
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[-1].startswith("… and 5 more")


def test_the_slice_settles_once_all_is_told(
    store: PostgresStore, key: str, dispatch: Dispatch
) -> None:
    many_fires(store, an_agent(store), key, 2, state=FireState.SKIPPED)
    trail = AuditTrail(dispatch)
    trail.settle()
    assert one(store, "select settled_at from slices") is None
    list(trail.batches())
    trail.settle()
    assert one(store, "select settled_at from slices") is not None


def test_a_dead_run_records_nothing(store: PostgresStore, key: str, dispatch: Dispatch) -> None:
    (fire,) = many_fires(store, an_agent(store), key, 1, state=FireState.SKIPPED)
    batches = AuditTrail(dispatch).batches()
    next(batches)
    end_dispatch(store, "run-1")
    with pytest.raises(DispatchEnded):
        next(batches)
    assert not see_fire(store, fire).recorded
