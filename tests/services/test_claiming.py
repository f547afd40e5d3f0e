"""The claim's transaction: who is taken, who ends, who waits, and what is counted."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, text

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireReason, FireState, task_id, task_name
from schedules_pipeline.domain.schedule import AgentStatus
from schedules_pipeline.services.claiming import ClaimResult, claim, rehearse
from schedules_pipeline.services.outcomes import write_outcomes
from schedules_pipeline.services.stored import OpenFire, Outcome
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    GRACE,
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    delete_schedule,
    many_fires,
    past_slice,
    query,
    seconds,
    see_fire,
)


@pytest.fixture
def key(store: PostgresStore) -> str:
    return past_slice(store)


@pytest.fixture
def run(store: PostgresStore, key: str) -> str:
    return a_dispatch(store, key, "run-1")


def look(store: PostgresStore, key: str, run: str = "run-1") -> Sequence[OpenFire]:
    return store.run(lambda tx: tx.claims.open_in(key, run, 5_000))


def take(store: PostgresStore, key: str, run: str = "run-1") -> ClaimResult:
    """Claim all that is open."""
    wanted = look(store, key, run)
    return store.run(lambda tx: claim(tx, wanted, run, GRACE))


def end_of(store: PostgresStore, fire: str) -> tuple[str, str | None]:
    seen = see_fire(store, fire)
    return seen.state, seen.reason


def test_a_claim_names_its_run_makes_the_task_and_counts_the_fire(
    store: PostgresStore, key: str, run: str
) -> None:
    schedule = a_schedule(store, stopped=True, task_params={"p": 1})
    fire = a_fire(store, schedule, key, database_now(store))
    (claimed,) = take(store, key).claimed
    assert (claimed.fire_id, claimed.task_created, claimed.attempts) == (fire, False, 0)
    row = query(store, "select * from fires")[0]
    assert (row.state, row.claimed_by, row.schedule_version) == ("claimed", run, 1)
    assert row.task_id == task_id(task_name(schedule.id, fire)) == claimed.assignment.task.id
    (task,) = query(store, "select * from tasks")
    assert (task.id, task.name) == (row.task_id, task_name(schedule.id, fire))
    assert (task.params, task.status) == ({"p": 1}, "RUNNING")
    assert task.task_metadata == claimed.assignment.task.task_metadata
    (clock,) = query(store, "select * from schedule_clock")
    assert clock.fire_count == 1
    assert row.claimed_at <= clock.last_fire_at <= database_now(store)


def test_a_task_without_parameters_has_none(store: PostgresStore, key: str, run: str) -> None:
    many_fires(store, an_agent(store), key, 1)
    take(store, key)
    assert query(store, "select 1 from tasks where params is null")


def test_a_take_over_keeps_the_task_and_counts_nothing(
    store: PostgresStore, key: str, run: str
) -> None:
    schedule = a_schedule(store, stopped=True)
    dead = a_dispatch(store, key, "dead")
    fire = a_fire(store, schedule, key, database_now(store))
    take(store, key, dead)
    before = query(store, "select task_id, claimed_at, schedule_version from fires")
    query(store, "update dispatches set finished_at = now() where dagster_run_id = 'dead'")
    counted = query(store, "select fire_count, last_fire_at from schedule_clock")

    (claimed,) = take(store, key).claimed

    assert claimed.fire_id == fire
    assert query(store, "select task_id, claimed_at, schedule_version from fires") == before
    assert query(store, "select fire_count, last_fire_at from schedule_clock") == counted
    assert len(query(store, "select 1 from tasks")) == 1


def test_a_claim_whose_answer_was_lost_is_made_again(
    store: PostgresStore, key: str, run: str
) -> None:
    (fire,) = many_fires(store, an_agent(store), key, 1)
    take(store, key)
    assert [each.fire_id for each in take(store, key).claimed] == [fire]


def test_one_that_is_early_by_the_databases_clock_is_to_be_asked_for_again(
    store: PostgresStore, key: str, run: str
) -> None:
    (early,) = many_fires(store, an_agent(store), key, 1, due_in=5)
    (due,) = many_fires(store, an_agent(store), key, 1)
    result = take(store, key)
    assert [each.fire_id for each in result.claimed] == [due]
    assert [each.id for each in result.early] == [early]
    assert end_of(store, early) == ("planned", None)


def test_a_schedule_that_another_holds_is_passed_over_at_once(
    store: PostgresStore, key: str, run: str
) -> None:
    held, free = (a_schedule(store, stopped=True) for _ in range(2))
    fires = [a_fire(store, each, key, database_now(store)) for each in (held, free)]
    with store.transaction() as connection:
        connection.execute(
            text("select 1 from schedule_clock where schedule_id = :id for update"),
            {"id": held.id},
        )
        result = take(store, key)
    assert [each.fire_id for each in result.claimed] == [fires[1]]
    assert [each.id for each in result.locked] == [fires[0]]
    take(store, key)
    assert end_of(store, fires[0]) == ("claimed", None)


def test_what_paused_or_deleted_schedules_and_deleted_agents_owe_is_skipped(
    store: PostgresStore, key: str, run: str
) -> None:
    now = database_now(store)
    paused = a_schedule(store, stopped=True, paused=True)
    deleted = a_schedule(store, stopped=True)
    gone = a_schedule(store, an_agent(store, status=AgentStatus.DELETED), stopped=True)
    fires = [a_fire(store, each, key, now) for each in (paused, deleted, gone)]
    delete_schedule(store, deleted)
    result = take(store, key)
    assert (result.claimed, result.locked, result.waiting) == ([], [], [])
    assert [end_of(store, fire) for fire in fires] == [
        ("skipped", "paused"),
        ("skipped", "deleted"),
        ("skipped", "agent_deleted"),
    ]
    assert query(store, "select 1 from tasks") == []
    assert not query(store, "select 1 from schedule_clock where fire_count > 0")


def test_stale_fires_end_missed_and_the_newest_goes_out(
    store: PostgresStore, key: str, run: str
) -> None:
    now = database_now(store).replace(microsecond=0)
    newest = now - seconds(90)
    cadence = Cadence(
        interval_seconds=1_000, interval_phase_seconds=int(newest.timestamp()) % 1_000
    )
    schedule = a_schedule(store, stopped=True, cadence=cadence)
    old, new = (a_fire(store, schedule, key, at) for at in (newest - seconds(1_000), newest))
    result = take(store, key)
    assert end_of(store, old) == ("missed", "coalesced")
    assert [each.fire_id for each in result.claimed] == [new]


def test_a_stale_take_over_whose_input_may_be_out_must_not_be_sent_again(
    store: PostgresStore, key: str, run: str
) -> None:
    dead = a_dispatch(store, key, finished=True)
    schedule = a_schedule(store, stopped=True, cadence=Cadence(interval_seconds=1))
    at = database_now(store) - seconds(100)
    created = a_fire(store, schedule, key, at, FireState.TASK_CREATED, run=dead)
    claimed = a_fire(store, schedule, key, at - seconds(1), FireState.CLAIMED, run=dead)
    (taken,) = take(store, key).claimed
    assert (taken.fire_id, taken.task_created, taken.may_send_again) == (created, True, False)
    assert end_of(store, claimed) == ("missed", "coalesced")


def a_fire_ahead(store: PostgresStore, schedule: Any, key: str, **dispatch: Any) -> str:
    """Claimed 5 s ago, in time, in another slice."""
    other = past_slice(store, minutes_ago=3)
    ahead = a_dispatch(store, other, **dispatch)
    at = database_now(store) - seconds(5)
    return a_fire(store, schedule, other, at, FireState.TASK_CREATED, run=ahead)


def test_a_fire_whose_agent_is_busy_is_skipped(store: PostgresStore, key: str, run: str) -> None:
    schedule = a_schedule(store, stopped=True)
    a_fire_ahead(store, schedule, key)
    fire = a_fire(store, schedule, key, database_now(store))
    take(store, key)
    assert end_of(store, fire) == ("skipped", "overlap")


@pytest.mark.parametrize("dispatch", [{"finished": True}, {"heartbeat_age": 16}])
def test_a_fire_behind_a_dead_runs_one_waits_for_it(
    store: PostgresStore, key: str, run: str, dispatch: dict[str, Any]
) -> None:
    schedule = a_schedule(store, stopped=True)
    ahead = a_fire_ahead(store, schedule, key, **dispatch)
    fire = a_fire(store, schedule, key, database_now(store))
    assert [each.id for each in take(store, key).waiting] == [fire]
    assert end_of(store, fire) == ("planned", None)
    query(
        store,
        "update fires set state = 'delivered', delivered_at = now(), finished_at = now() "
        "where id = :id",
        id=ahead,
    )
    assert [each.fire_id for each in take(store, key).claimed] == [fire]


def test_of_one_schedules_fires_only_the_earliest_is_claimed(
    store: PostgresStore, key: str, run: str
) -> None:
    schedule = a_schedule(store, stopped=True)
    now = database_now(store)
    later, earlier = (a_fire(store, schedule, key, now - seconds(n)) for n in (1, 2))
    result = take(store, key)
    assert [each.fire_id for each in result.claimed] == [earlier]
    assert [each.id for each in result.waiting] == [later]
    # And while that is in hand, the later one waits on: it was late, the agent was not busy.
    again = store.run(lambda tx: claim(tx, result.waiting, run, GRACE))
    assert [each.id for each in again.waiting] == [later]


def test_what_ended_or_moved_since_the_look_is_neither_claimed_nor_asked_for_again(
    store: PostgresStore, key: str, run: str
) -> None:
    fires = many_fires(store, an_agent(store), key, 2)
    wanted = look(store, key)
    query(
        store,
        "update fires set state = 'cancelled', reason = :why, finished_at = now() where id = :id",
        why=FireReason.RUN_CANCELLED.value,
        id=fires[0],
    )
    result = store.run(lambda tx: claim(tx, wanted, run, GRACE))
    assert [each.fire_id for each in result.claimed] == [fires[1]]
    assert (result.locked, result.waiting) == ([], [])


def test_a_claim_of_a_hundred_takes_a_handful_of_statements(
    store: PostgresStore, key: str, run: str
) -> None:
    many_fires(store, an_agent(store), key, 100)
    wanted = look(store, key)
    with store.transaction() as connection:
        engine = connection.engine
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    result = store.run(lambda tx: claim(tx, wanted, run, GRACE))
    assert len(result.claimed) == 100
    assert len(statements) <= 10


# --- claims that begin before their due time ------------------------------------------------------


def test_a_claim_that_waits_holds_the_schedule_but_carries_what_its_agent_is_by_then(
    store: PostgresStore, key: str, run: str
) -> None:
    agent = an_agent(store)
    schedule = a_schedule(store, agent, stopped=True)
    fire = a_fire(store, schedule, key, database_now(store))
    wanted = look(store, key)

    def meanwhile() -> None:
        # An edit has to wait until we commit, and so cannot have been answered before that.
        assert store.run(lambda tx: tx.clocks.lock_free({schedule.id})) == set()
        moved = replace(agent, acp_url="http://127.0.0.1:7/moved")
        store.run(lambda tx: tx.agents.register(moved))

    (claimed,) = store.run(lambda tx: claim(tx, wanted, run, GRACE, until_due=meanwhile)).claimed
    assert claimed.fire_id == fire
    assert claimed.assignment.agent.acp_url == "http://127.0.0.1:7/moved"


def test_an_agent_deleted_while_a_claim_waits_gets_nothing(
    store: PostgresStore, key: str, run: str
) -> None:
    agent = an_agent(store)
    fire = a_fire(store, a_schedule(store, agent, stopped=True), key, database_now(store))
    wanted = look(store, key)
    deleted = replace(agent, status=AgentStatus.DELETED)

    def meanwhile() -> None:
        store.run(lambda tx: tx.agents.register(deleted))

    assert store.run(lambda tx: claim(tx, wanted, run, GRACE, until_due=meanwhile)).claimed == []
    assert end_of(store, fire) == ("skipped", "agent_deleted")


def test_a_fire_that_ends_while_its_claim_waits_is_not_claimed(
    store: PostgresStore, key: str, run: str
) -> None:
    (fire,) = many_fires(store, an_agent(store), key, 1)
    wanted = look(store, key)

    def meanwhile() -> None:
        query(
            store,
            "update fires set state = 'cancelled', reason = :why, finished_at = now()",
            why=FireReason.RUN_CANCELLED.value,
        )

    assert store.run(lambda tx: claim(tx, wanted, run, GRACE, until_due=meanwhile)).claimed == []
    assert end_of(store, fire) == ("cancelled", "run_cancelled")


def test_a_claim_that_waited_too_short_a_time_takes_nothing(
    store: PostgresStore, key: str, run: str
) -> None:
    (early,) = many_fires(store, an_agent(store), key, 1, due_in=5)
    wanted = look(store, key)
    result = store.run(lambda tx: claim(tx, wanted, run, GRACE, until_due=lambda: None))
    assert (result.claimed, [each.id for each in result.early]) == ([], [early])
    assert end_of(store, early) == ("planned", None)


def test_a_claim_does_not_wait_when_others_hold_all_its_schedules(
    store: PostgresStore, key: str, run: str
) -> None:
    schedule = a_schedule(store, stopped=True)
    a_fire(store, schedule, key, database_now(store))
    wanted = look(store, key)
    waits: list[str] = []
    with store.transaction() as connection:
        connection.execute(text("select 1 from schedule_clock for update"))
        result = store.run(
            lambda tx: claim(tx, wanted, run, GRACE, until_due=lambda: waits.append(""))
        )
    assert (list(result.locked), waits) == (list(wanted), [])


def test_a_rehearsal_runs_every_statement_of_a_claim_and_its_outcome_and_changes_nothing(
    store: PostgresStore, key: str, run: str
) -> None:
    many_fires(store, an_agent(store), key, 1)
    wanted = look(store, key)
    everything = "select * from fires, schedule_clock, dispatches"
    before = query(store, everything)
    with store.transaction() as connection:
        engine = connection.engine
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    store.run(lambda tx: rehearse(tx, run))
    rehearsed = set(statements)
    assert query(store, everything) == before
    assert not query(store, "select 1 from tasks")
    statements.clear()

    (claimed,) = store.run(lambda tx: claim(tx, wanted, run, GRACE, until_due=lambda: None)).claimed
    outcome = Outcome(
        fire_id=claimed.fire_id,
        schedule_id=claimed.schedule_id,
        pause_after_failures=None,
        state=FireState.TASK_CREATED,
        attempts=0,
        reason=None,
        error=None,
        sent_at=None,
        reply_excerpt=None,
        possible_duplicate=False,
    )
    store.run(lambda tx: write_outcomes(tx, [outcome], run))
    assert set(statements) == rehearsed
