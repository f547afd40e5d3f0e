"""From a clock's reading to the fires it makes due. Pure: the same reading gives the same plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import GapReason
from schedules_pipeline.domain.occurrences import due_at, occurrences, previous_occurrence
from schedules_pipeline.domain.policies import CatchupPolicy
from schedules_pipeline.domain.schedule import AcpType, Schedule
from schedules_pipeline.domain.slices import Slice, slice_for
from schedules_pipeline.errors import InvalidCadence

INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """A schedule whose clock is due, as it was read without a lock.

    `crowded`: the slice that takes on what synchronous agents are due, while too many are worked.
    """

    schedule: Schedule
    acp_type: AcpType
    next_nominal_at: datetime
    next_due_at: datetime
    skips: frozenset[datetime]
    crowded: Slice | None = None


@dataclass(frozen=True, slots=True)
class PlannedFire:
    """An occurrence that gets its row."""

    nominal_at: datetime
    due_at: datetime
    owed_at: datetime
    slice: Slice
    skipped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """[from_at, to_at) was never planned, and why."""

    from_at: datetime
    to_at: datetime
    reason: GapReason


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlan:
    """What one planning transaction writes for one schedule.

    It holds only while the schedule's version and clock are still what the reading said.
    `next_at` is (nominal, due) of the first occurrence not yet planned; None when exhausted.
    """

    reading: ClockReading
    fires: tuple[PlannedFire, ...]
    gap: Gap | None
    next_at: tuple[datetime, datetime] | None

    @property
    def schedule_id(self) -> str:
        """Whose plan this is."""
        return self.reading.schedule.id


def plan_schedule(
    reading: ClockReading, *, now: datetime, frontier: datetime, grace: timedelta, limit: int
) -> SchedulePlan:
    """Plan what is due before `frontier`, at most `limit` fires (the next tick goes on).

    A clock more than the grace behind is first set to what the catch-up policy still delivers;
    everything before that is covered by one gap, whatever its length.
    """
    start: datetime | None = reading.next_nominal_at
    if reading.next_due_at < now - grace:
        start = _catch_up_start(reading, now, grace)
    fires: list[PlannedFire] = []
    next_at: tuple[datetime, datetime] | None = None
    for nominal, due in _dated(reading.schedule, start):
        if due >= frontier or len(fires) == limit:
            next_at = (nominal, due)
            break
        fires.append(_fire(reading, nominal, due, now, grace))
    return SchedulePlan(
        reading=reading, fires=tuple(fires), gap=_gap(reading, start, now), next_at=next_at
    )


def first_occurrence(schedule: Schedule, after: datetime) -> tuple[datetime, datetime] | None:
    """(nominal, due) of the first occurrence whose due time is after `after`; None if none is."""
    # Jitter moves a due time by less than itself, so no earlier nominal can qualify.
    earliest = after - timedelta(seconds=schedule.cadence.jitter_seconds)
    for nominal, due in _dated(schedule, earliest):
        if due > after:
            return nominal, due
    return None


def newer_is_due(schedule: Schedule, nominal_at: datetime, now: datetime) -> bool:
    """Whether a later occurrence of the schedule is due already (policy `latest`).

    None that can be found is none: one schedule's cadence must not stop a claim of many.
    """
    try:
        following = next(_dated(schedule, nominal_at + INSTANT), None)
    except InvalidCadence:
        return False
    return following is not None and following[1] <= now


def _catch_up_start(reading: ClockReading, now: datetime, grace: timedelta) -> datetime | None:
    """The first occurrence that the policy still delivers.

    `none`: the first that is less than the grace late. `latest`: the same, or if none of those is
    due, the newest of all. `all`: the first. Never one that is older than the catch-up window.
    """
    schedule = reading.schedule
    policy = schedule.policies.catchup_policy
    window_start = now - schedule.policies.catchup_window
    if policy is CatchupPolicy.ALL:
        return _not_before(reading, first_occurrence(schedule, min(window_start, now - grace)))
    timely = first_occurrence(schedule, now - grace)
    timely_is_due = timely is not None and timely[1] <= now
    if policy is CatchupPolicy.NONE or timely_is_due:
        return _not_before(reading, timely)
    newest = _newest_before(schedule.cadence, timely, now)
    if (
        newest is not None
        and newest >= reading.next_nominal_at
        and due_at(schedule.cadence, schedule.id, newest) >= window_start
    ):
        return newest
    return _not_before(reading, timely)


def _not_before(reading: ClockReading, found: tuple[datetime, datetime] | None) -> datetime | None:
    """What the clock has passed is planned already."""
    return None if found is None else max(found[0], reading.next_nominal_at)


def _newest_before(
    cadence: Cadence, timely: tuple[datetime, datetime] | None, now: datetime
) -> datetime | None:
    return previous_occurrence(cadence, now + INSTANT if timely is None else timely[0])


def _dated(schedule: Schedule, start: datetime | None) -> Iterator[tuple[datetime, datetime]]:
    """(nominal, due) from `start` (inclusive) on."""
    if start is None:
        return
    for nominal in occurrences(schedule.cadence, start - INSTANT):
        yield nominal, due_at(schedule.cadence, schedule.id, nominal)


def _fire(
    reading: ClockReading, nominal: datetime, due: datetime, now: datetime, grace: timedelta
) -> PlannedFire:
    late = due < now - grace
    return PlannedFire(
        nominal_at=nominal,
        due_at=due,
        owed_at=now if late else due,
        slice=slice_for(
            due,
            answers_in_turn=reading.acp_type is AcpType.SYNC,
            now=now,
            grace=grace,
            crowded=reading.crowded,
        ),
        skipped=nominal in reading.skips,
    )


def _gap(reading: ClockReading, start: datetime | None, now: datetime) -> Gap | None:
    reason = reading.schedule.policies.catchup_policy.gap_reason
    # Up to now at most: an edit may put occurrences before what comes next today.
    until = now if start is None else min(start, now)
    return gap_between(reading.next_nominal_at, until, reason)


def gap_between(from_at: datetime, to_at: datetime, reason: GapReason) -> Gap | None:
    """[from_at, to_at), or None when there is nothing between."""
    return Gap(from_at=from_at, to_at=to_at, reason=reason) if to_at > from_at else None
