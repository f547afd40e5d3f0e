"""Limits and failures on a real ledger: max_fires, pause_after_failures, and what resets them."""

from functools import partial
from typing import Any

import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.policies import CatchupPolicy, Policies
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.services.claiming import ClaimResult, claim
from schedules_pipeline.services.coverage import Audits
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.outcomes import write_outcomes
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.stored import Outcome
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    GRACE,
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    database_now,
    end_dispatch,
    one,
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


@pytest.fixture
def editor(store: PostgresStore) -> Editor:
    return Editor(store, RULES)


def patch(editor: Editor, schedule: Schedule, **given: Any) -> None:
    editor.update(schedule.agent_id, schedule.id, partial(patched, given=given), {})


def take(store: PostgresStore, key: str, run: str = "run-1") -> ClaimResult:
    wanted = store.run(lambda tx: tx.claims.open_in(key, run, 1_000))
    return store.run(lambda tx: claim(tx, wanted, run, GRACE))


def take_one(store: PostgresStore, schedule: Schedule, key: str, ago: float = 30) -> str | None:
    """A fire of the schedule is due and claimed; returns its id, or None when it ended."""
    # An id has whole seconds: each is a second after the one before.
    later = int(one(store, "select count(*) from fires"))
    fire = a_fire(store, schedule, key, database_now(store) - seconds(ago - later))
    taken = [each.fire_id for each in take(store, key).claimed]
    if taken:
        assert taken == [fire]
        query(store, "update fires set state = 'task_created', task_created_at = now() "
                     "where id = :id", id=fire)  # fmt: skip
    return fire if taken else None


def finish(store: PostgresStore, schedule: Schedule, fire: str, *, failed: bool) -> None:
    """The outcome as a run writes it: with the limit that its claim saw."""
    outcome = Outcome(
        fire_id=fire,
        schedule_id=schedule.id,
        state=FireState.FAILED if failed else FireState.DELIVERED,
        reason=FireReason.AGENT_ERROR if failed else None,
        pause_after_failures=schedule.policies.pause_after_failures,
        attempts=5 if failed else 1,
    )
    assert store.run(lambda tx: write_outcomes(tx, [outcome], "run-1")) == {fire}


def fail(store: PostgresStore, schedule: Schedule, key: str) -> None:
    fire = take_one(store, schedule, key)
    assert fire is not None
    finish(store, schedule, fire, failed=True)


def deliver(store: PostgresStore, schedule: Schedule, key: str) -> None:
    fire = take_one(store, schedule, key)
    assert fire is not None
    finish(store, schedule, fire, failed=False)


def paused(store: PostgresStore) -> bool:
    return bool(one(store, "select paused from agent_run_schedules"))


def count(store: PostgresStore) -> int:
    return int(one(store, "select fire_count from schedule_clock"))


# --- max_fires ------------------------------------------------------------------------------------


def test_the_last_fire_allowed_stops_the_clock_and_the_next_ends_exhausted(
    store: PostgresStore, key: str, run: str
) -> None:
    schedule = a_schedule(store, every=1, policies=Policies(max_fires=2))
    deliver(store, schedule, key)
    assert one(store, "select next_due_at from schedule_clock") is not None
    deliver(store, schedule, key)
    assert one(store, "select next_due_at from schedule_clock") is None
    fire = a_fire(store, schedule, key, database_now(store))
    assert take(store, key).claimed == []
    assert (see_fire(store, fire).state, see_fire(store, fire).reason) == ("skipped", "exhausted")
    assert count(store) == 2
    shown = Schedules(store, RULES).get(schedule.agent_id, schedule.id).live
    assert shown is not None
    assert (shown.next_times, shown.fire_count) == ((), 2)


def test_a_clock_that_was_behind_when_the_last_fire_allowed_stopped_it_leaves_a_gap(
    store: PostgresStore, key: str, run: str
) -> None:
    behind = database_now(store) - seconds(600)
    policies = Policies(max_fires=2, catchup_policy=CatchupPolicy.ALL)
    schedule = a_schedule(store, every=1, clock_at=behind, policies=policies)
    stood_at = one(store, "select next_nominal_at from schedule_clock")
    deliver(store, schedule, key)
    assert query(store, "select * from gaps") == []  # It may still come to them.
    deliver(store, schedule, key)
    (gap,) = query(store, "select from_at, to_at, reason from gaps")
    # Up to the very instant from which on nothing is owed: no occurrence falls between.
    last_fire_at = one(store, "select last_fire_at from schedule_clock")
    assert tuple(gap) == (stood_at, last_fire_at, "exhausted")


def test_the_audit_finds_no_hole_where_a_clock_was_behind_when_it_fired_for_the_last_time(
    store: PostgresStore, key: str, run: str
) -> None:
    began = database_now(store) - seconds(600)
    schedule = a_schedule(store, every=1, clock_at=began, policies=Policies(max_fires=1))
    store.run(
        lambda tx: tx.schedules.record_change(
            None, schedule, operation="create", actor={}, at=began, tzdata_version="2026a"
        )
    )
    deliver(store, schedule, key)
    whole = Audits(store).of_schedule(schedule.agent_id, schedule.id, began, database_now(store))
    assert whole.holes == []
    assert {each.reason for each in whole.occurrences if each.state == "missed"} == {"exhausted"}


def test_a_clock_that_was_on_time_when_the_last_fire_allowed_stopped_it_leaves_no_gap(
    store: PostgresStore, key: str, run: str
) -> None:
    ahead = database_now(store) + seconds(600)
    schedule = a_schedule(store, every=1, clock_at=ahead, policies=Policies(max_fires=1))
    deliver(store, schedule, key)
    assert one(store, "select next_due_at from schedule_clock") is None
    assert query(store, "select * from gaps") == []


def test_only_first_claims_count(store: PostgresStore, key: str, run: str) -> None:
    schedule = a_schedule(store, stopped=True, policies=Policies(max_fires=2))
    dead = a_dispatch(store, key, "dead")
    a_fire(store, schedule, key, database_now(store))
    assert len(take(store, key, dead).claimed) == 1
    end_dispatch(store, dead)
    (taken_over,) = take(store, key).claimed
    assert count(store) == 1
    finish(store, schedule, taken_over.fire_id, failed=True)
    Triggers(store).redrive(taken_over.fire_id)
    again = one(store, "select slice_key from fires")
    assert len(take(store, again).claimed) == 1
    assert count(store) == 1
    Triggers(store).trigger(schedule.agent_id, schedule.id)
    manual = one(store, "select slice_key from fires where trigger_type = 'manual'")
    assert len(take(store, manual).claimed) == 1
    assert count(store) == 1


def test_a_raised_limit_lets_the_clock_go_on_from_now(
    store: PostgresStore, editor: Editor, key: str, run: str
) -> None:
    schedule = a_schedule(store, every=1, policies=Policies(max_fires=1))
    deliver(store, schedule, key)
    before = database_now(store)
    patch(editor, schedule, max_fires=3)
    planned = query(store, "select nominal_at from fires where state = 'planned'")
    assert min(row.nominal_at for row in planned) > before
    assert one(store, "select next_due_at from schedule_clock") is not None
    shown = Schedules(store, RULES).get(schedule.agent_id, schedule.id).live
    assert shown is not None
    assert len(shown.next_times) == 2
    patch(editor, schedule, max_fires=1)
    assert one(store, "select next_due_at from schedule_clock") is None
    patch(editor, schedule, max_fires=None)
    assert one(store, "select next_due_at from schedule_clock") is not None


def test_a_limit_that_is_not_reached_moves_nothing(store: PostgresStore, editor: Editor) -> None:
    """It is no edit of when: what an outage left is still the catch-up policy's."""
    schedule = a_schedule(store, every=5, clock_at=database_now(store) - seconds(3_000))
    before = query(store, "select next_nominal_at, next_due_at from schedule_clock")
    patch(editor, schedule, max_fires=100)
    patch(editor, schedule, catchup_policy=CatchupPolicy.ALL)
    assert query(store, "select next_nominal_at, next_due_at from schedule_clock") == before
    assert query(store, "select 1 from gaps") == []
    Planner(store, RULES).plan(lambda: False)
    assert one(store, "select count(*) from fires where slice_key like '%/backlog'") >= 580


# --- pause_after_failures -------------------------------------------------------------------------


def a_fragile_schedule(store: PostgresStore, limit: int, **more: Any) -> Schedule:
    return a_schedule(store, every=5, policies=Policies(pause_after_failures=limit), **more)


def test_failures_in_a_row_pause_with_a_typed_reason_and_a_note(
    store: PostgresStore, key: str, run: str
) -> None:
    schedule = a_fragile_schedule(store, 3, clock_at=database_now(store) - seconds(30))
    stood_at = one(store, "select next_nominal_at from schedule_clock")
    for _ in range(2):
        fail(store, schedule, key)
    assert not paused(store)
    fail(store, schedule, key)
    assert paused(store)
    assert one(store, "select next_due_at from schedule_clock") is None
    (change,) = query(store, "select * from schedule_changes")
    assert (change.operation, change.reason, change.version) == ("pause", "failures", 2)
    assert change.note == "3 fires in a row failed; mend the cause, then resume."
    assert change.actor == {"principal_type": "system"}
    # Its clock was behind, as any pause finds it.
    (gap,) = query(store, "select * from gaps")
    assert (gap.from_at, gap.reason) == (stood_at, "paused")


def test_a_delivery_resets_the_count(store: PostgresStore, key: str, run: str) -> None:
    schedule = a_fragile_schedule(store, 2)
    for _ in range(3):
        fail(store, schedule, key)
        deliver(store, schedule, key)
    assert not paused(store)


def test_a_persons_fires_count_and_reset_too(store: PostgresStore, key: str, run: str) -> None:
    schedule = a_fragile_schedule(store, 2)

    def manual(*, failed: bool) -> None:
        fire = Triggers(store).trigger(schedule.agent_id, schedule.id)
        slice_key = one(store, "select slice_key from fires where id = :id", id=fire)
        (claimed,) = take(store, slice_key).claimed
        query(store, "update fires set state = 'task_created', task_created_at = now() "
                     "where id = :id", id=claimed.fire_id)  # fmt: skip
        assert claimed.pause_after_failures == 2
        finish(store, schedule, fire, failed=failed)

    fail(store, schedule, key)
    manual(failed=False)
    fail(store, schedule, key)
    assert not paused(store)
    manual(failed=True)
    assert paused(store)


def test_a_resume_resets_the_count_and_another_edit_does_not(
    store: PostgresStore, editor: Editor, key: str, run: str
) -> None:
    schedule = a_fragile_schedule(store, 2)
    failures = "select consecutive_failures from schedule_clock"
    fail(store, schedule, key)
    patch(editor, schedule, interval_seconds=7)
    assert one(store, failures) == 1
    fail(store, schedule, key)
    assert paused(store)
    editor.resume(schedule.agent_id, schedule.id, {}, None)
    assert one(store, failures) == 0
    fail(store, schedule, key)
    assert not paused(store)


def test_an_outcome_that_is_written_twice_counts_once(
    store: PostgresStore, key: str, run: str
) -> None:
    """The answer to the first commit was lost; the run cannot know, and writes it again."""
    schedule = a_fragile_schedule(store, 2)
    fire = take_one(store, schedule, key)
    assert fire is not None
    finish(store, schedule, fire, failed=True)
    finish(store, schedule, fire, failed=True)
    assert one(store, "select consecutive_failures from schedule_clock") == 1
    assert not paused(store)


@pytest.mark.parametrize("limit", [None, 5])
def test_the_limit_in_force_when_it_fails_decides_not_that_of_the_claim(
    store: PostgresStore, editor: Editor, key: str, run: str, limit: int | None
) -> None:
    schedule = a_fragile_schedule(store, 1)
    fire = take_one(store, schedule, key)
    assert fire is not None
    patch(editor, schedule, pause_after_failures=limit)
    finish(store, schedule, fire, failed=True)
    assert not paused(store)


def test_what_ends_undelivered_without_failing_is_no_failure(
    store: PostgresStore, key: str, run: str
) -> None:
    schedule = a_schedule(
        store,
        stopped=True,
        policies=Policies(pause_after_failures=1, catchup_policy=CatchupPolicy.NONE),
    )
    assert take_one(store, schedule, key, ago=100) is None
    assert one(store, "select reason from fires") == "catchup_none"
    assert one(store, "select consecutive_failures from schedule_clock") == 0
    assert not paused(store)
