"""A schedule as it is shown: its definition, and what the clock makes of it right now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from schedules_pipeline.domain.occurrences import due_at, occurrences
from schedules_pipeline.domain.planning import INSTANT
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.errors import InvalidCadence
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import RecentFire, ScheduleActivity

NEXT_TIMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveData:
    """What the clock knows of a schedule at this moment."""

    next_times: tuple[datetime, ...]
    skipped_times: tuple[datetime, ...]
    last_fire_at: datetime | None
    fire_count: int
    recent: tuple[RecentFire, ...]
    running_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule, how its agent takes an input, and its live data.

    `live` is None when it was not asked for; `live_failed` when it could not be told.
    """

    schedule: Schedule
    input_method: str
    live: LiveData | None = None
    live_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read of schedules: `live` says how many carry live data.

    `methods`: how each agent (the key is its id) takes its input.
    """

    methods: Mapping[str, str]
    schedules: Sequence[Schedule]
    activity: Mapping[str, ScheduleActivity]
    live: int


def look(
    tx: Transaction, methods: Mapping[str, str], schedules: Sequence[Schedule], *, live: int
) -> Seen:
    """Read what the first `live` of them need for their live data, with one query."""
    ids = [schedule.id for schedule in schedules[:live]]
    activity = tx.schedules.activity(ids, ahead=NEXT_TIMES) if ids else {}
    return Seen(methods=methods, schedules=schedules, activity=activity, live=live)


def views(seen: Seen) -> list[ScheduleView]:
    """What was read, as it is shown.

    Occurrences are searched here, which may take a while: no transaction is open meanwhile.
    """
    shown = [
        _live_view(schedule, seen.activity.get(schedule.id), seen.methods[schedule.agent_id])
        for schedule in seen.schedules[: seen.live]
    ]
    plain = [
        ScheduleView(schedule=schedule, input_method=seen.methods[schedule.agent_id])
        for schedule in seen.schedules[seen.live :]
    ]
    return shown + plain


def _live_view(schedule: Schedule, activity: ScheduleActivity | None, method: str) -> ScheduleView:
    live = None if activity is None else _live_data(schedule, activity)
    return ScheduleView(schedule=schedule, input_method=method, live=live, live_failed=live is None)


def _live_data(schedule: Schedule, activity: ScheduleActivity) -> LiveData | None:
    try:
        next_times = next_action_times(schedule, activity)
    except InvalidCadence:
        # Newer zone rules, or a search that gave up: never a reason to refuse to show the rest.
        return None
    return LiveData(
        next_times=next_times,
        # Its due time decides: until then a skip can be taken back.
        skipped_times=tuple(
            nominal
            for nominal in activity.skipped
            if due_at(schedule.cadence, schedule.id, nominal) > activity.seen_at
        ),
        last_fire_at=activity.last_fire_at,
        fire_count=activity.fire_count,
        recent=activity.recent,
        running_count=activity.running_count,
    )


def next_action_times(schedule: Schedule, activity: ScheduleActivity) -> tuple[datetime, ...]:
    """Planned fires still ahead (planning runs up to 90 s ahead), then what the clock comes to.

    A paused schedule's planned fires would end skipped, so it has none.
    """
    if schedule.paused:
        return ()
    limit = schedule.policies.max_fires
    most = NEXT_TIMES if limit is None else min(NEXT_TIMES, max(0, limit - activity.fire_count))
    planned = activity.planned_ahead[:most]
    coming = islice(_after_the_clock(schedule, activity), most - len(planned))
    return (*planned, *coming)


def _after_the_clock(schedule: Schedule, activity: ScheduleActivity) -> Iterator[datetime]:
    if activity.next_nominal_at is None:
        return
    # Where the clock stands still, what it left behind is no longer a *next* time.
    ahead = activity.seen_at - timedelta(seconds=schedule.cadence.jitter_seconds)
    # An edit of jitter may leave the clock before fires that are planned.
    named = frozenset(activity.skipped) | frozenset(activity.planned_ahead)
    for nominal in occurrences(schedule.cadence, max(activity.next_nominal_at - INSTANT, ahead)):
        due = due_at(schedule.cadence, schedule.id, nominal)
        if due > activity.seen_at and nominal not in named:
            yield nominal
