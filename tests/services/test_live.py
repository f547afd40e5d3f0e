"""Live data: what comes next, also while the clock runs ahead, stands still or is paused."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.occurrences import due_at
from schedules_pipeline.services.live import next_action_times
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import PlanningRules
from schedules_pipeline.services.store_port import ScheduleActivity
from schedules_pipeline.store.unit_of_work import PostgresStore
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
