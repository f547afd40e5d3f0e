"""Live data: what comes next, also while the clock runs ahead, stands still or is paused."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.occurrences import due_at
from schedules_pipeline.services.live import next_action_times
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import PlanningRules
from schedules_pipeline.services.stored import ScheduleActivity
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests import ledger
from tests.factories import NOW, a_draft, a_schedule, an_agent

HOUR = timedelta(hours=1)


def _activity(**changes: Any) -> ScheduleActivity:
    fields: dict[str, Any] = {
        "schedule_id": "schedule-1",
        "seen_at": NOW,
        "next_nominal_at": NOW + HOUR,
        "planned_ahead": (),
        "skipped": (),
        "last_fire_at": None,
        "fire_count": 0,
    }
    return ScheduleActivity(**(fields | changes))


def _hours(*numbers: int) -> tuple[datetime, ...]:
    return tuple(NOW + number * HOUR for number in numbers)


def test_ten_times_from_the_clock_on() -> None:
    assert next_action_times(a_schedule(), _activity()) == _hours(*range(1, 11))


def test_planned_ones_come_first_and_count() -> None:
    activity = _activity(planned_ahead=_hours(1, 2), next_nominal_at=NOW + 3 * HOUR)
    assert next_action_times(a_schedule(), activity) == _hours(*range(1, 11))


def test_enough_planned_ones_are_enough() -> None:
    activity = _activity(planned_ahead=_hours(*range(1, 11)), next_nominal_at=NOW + 11 * HOUR)
    assert next_action_times(a_schedule(), activity) == _hours(*range(1, 11))


def test_skipped_ones_are_left_out() -> None:
    activity = _activity(skipped=_hours(2, 3))
    assert next_action_times(a_schedule(), activity) == _hours(1, *range(4, 13))


def test_of_an_exhausted_schedule_only_planned_ones_are_left() -> None:
    activity = _activity(planned_ahead=_hours(1), next_nominal_at=None)
    assert next_action_times(a_schedule(), activity) == _hours(1)


def test_a_paused_schedule_has_none_even_when_fires_are_planned() -> None:
    activity = _activity(planned_ahead=_hours(1), next_nominal_at=None)
    assert next_action_times(a_schedule(paused=True), activity) == ()


def test_what_a_standing_clock_left_behind_is_not_next() -> None:
    activity = _activity(next_nominal_at=NOW - 100 * HOUR)
    assert next_action_times(a_schedule(), activity) == _hours(*range(1, 11))


def test_a_jittered_occurrence_is_next_until_it_is_due() -> None:
    schedule = a_schedule(cadence=Cadence(interval_seconds=3600, jitter_seconds=3599))
    due = due_at(schedule.cadence, schedule.id, NOW)
    just_before = due - timedelta(milliseconds=1)
    behind = _activity(next_nominal_at=NOW, seen_at=just_before)
    assert next_action_times(schedule, behind)[0] == NOW
    at_last = _activity(next_nominal_at=NOW, seen_at=due)
    assert next_action_times(schedule, at_last)[0] == NOW + HOUR


def test_a_live_list_costs_one_query_however_long_it_is(store: PostgresStore) -> None:
    store.run(lambda tx: tx.agents.register(an_agent()))
    schedules = Schedules(store, PlanningRules(horizon=timedelta(seconds=30), grace=HOUR))
    for number in range(5):
        schedules.create("agent-1", a_draft(name=f"n{number}"), {})
    asked: list[str] = []

    @event.listens_for(store._engine, "before_cursor_execute")
    def _note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    plain = schedules.list("agent-1", limit=100, live=False)
    without = len(asked)
    live = schedules.list("agent-1", limit=100, live=True)
    assert (len(plain), len(live)) == (5, 5)
    assert all(view.live is not None for view in live)
    assert len(asked) - without == without + 1


def test_a_skip_is_shown_until_its_occurrence_would_have_been_due(store: PostgresStore) -> None:
    cadence = Cadence(interval_seconds=86_400, jitter_seconds=86_399)
    schedule = ledger.a_schedule(store, stopped=True, cadence=cadence)
    now = ledger.database_now(store)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for nominal in (midnight, midnight - timedelta(days=2)):
        ledger.a_skip(store, schedule, nominal)
    schedules = Schedules(store, ledger.RULES)
    live = schedules.get(schedule.agent_id, schedule.id).live
    assert live is not None
    ahead = due_at(schedule.cadence, schedule.id, midnight) > now
    assert live.skipped_times == ((midnight,) if ahead else ())


def test_the_last_ten_fires_are_shown_and_those_under_way_are_counted(
    store: PostgresStore,
) -> None:
    schedule = ledger.a_schedule(store, stopped=True)
    key, now = ledger.past_slice(store), ledger.database_now(store)
    run = ledger.a_dispatch(store, key)
    for ago in range(12, 3, -1):
        ledger.a_fire(store, schedule, key, now - timedelta(seconds=ago), state=FireState.MISSED)
    for ago, state in ((3, FireState.DELIVERED), (2, FireState.TASK_CREATED)):
        at = now - timedelta(seconds=ago)
        ledger.a_fire(store, schedule, key, at, state=state, claimed_by=run)
    ledger.a_fire(store, schedule, key, now - timedelta(seconds=1), state=FireState.PLANNED)
    ahead = now + timedelta(seconds=30)
    ledger.a_fire(store, schedule, key, ahead, state=FireState.PLANNED)

    live = Schedules(store, ledger.RULES).get(schedule.agent_id, schedule.id).live

    assert live is not None
    assert live.running_count == 1
    assert [fire.state for fire in live.recent] == [
        "planned", "task_created", "delivered", *["missed"] * 7,
    ]  # fmt: skip
    assert live.recent[3].reason == "coalesced"
    assert live.recent[1].task_id is not None
    assert live.recent[0].nominal_at < now < ahead


def test_the_fires_under_way_are_counted_over_all_open_slices(store: PostgresStore) -> None:
    schedule = ledger.a_schedule(store, stopped=True)
    for minutes in (2, 3):
        key = ledger.past_slice(store, minutes)
        run, at = ledger.a_dispatch(store, key), ledger.database_now(store)
        for number in range(3):
            nominal = at - timedelta(minutes=minutes, seconds=number)
            ledger.a_fire(store, schedule, key, nominal, state=FireState.CLAIMED, claimed_by=run)
    live = Schedules(store, ledger.RULES).get(schedule.agent_id, schedule.id).live
    assert live is not None
    assert live.running_count == 6
