"""What a cadence will do, for a person to look at before it does it."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schedules_pipeline.domain.cadence import Cadence, compile_cadence, zone_of
from schedules_pipeline.domain.occurrences import due_at
from schedules_pipeline.domain.search import Search, within_horizon
from schedules_pipeline.domain.timeline import CronTimeline
from schedules_pipeline.domain.zones import HORIZON_END, Zone, instant_of, moment_of
from schedules_pipeline.errors import InvalidCadence

MAX_LISTED = 10_000
"""How many occurrences, excluded and skipped ones included, a preview lists at most."""


class Mark(StrEnum):
    """What is special about a previewed occurrence."""

    DST_GAP = "dst_gap"
    """Its wall-clock time does not exist that day: it was moved to the first instant that does."""
    DST_FOLD = "dst_fold"
    """Its wall-clock time comes twice that day."""
    EXCLUDED = "excluded"
    """`exclude_cron` leaves it out."""
    SKIPPED = "skipped"
    """A one-off skip leaves it out."""


@dataclass(frozen=True, slots=True)
class PreviewedOccurrence:
    """One occurrence: in UTC, on the wall clock of its zone, and when its fire would be due."""

    nominal_at: datetime
    local: datetime
    due_at: datetime
    marks: tuple[Mark, ...]

    @property
    def left_out(self) -> bool:
        """Whether nothing will happen at it."""
        return Mark.EXCLUDED in self.marks or Mark.SKIPPED in self.marks


@dataclass(frozen=True, slots=True)
class Preview:
    """The occurrences asked for.

    `exhausted`: no occurrence comes after them. `gave_up`: the list ends early, after `MAX_LISTED`
    entries most of which are left out.
    """

    occurrences: list[PreviewedOccurrence]
    exhausted: bool
    gave_up: bool = False


def preview(
    cadence: Cadence,
    schedule_id: str | None,
    after: datetime,
    count: int,
    skips: AbstractSet[datetime] = frozenset(),
    until: datetime | None = None,
) -> Preview:
    """The next `count` occurrences later than `after` (and up to and including `until`).

    Excluded and skipped ones are listed with their mark, and not counted. Without a `schedule_id`
    no due time can be told, for jitter depends on it: `due_at` is then `nominal_at`.

    Raises:
        InvalidCadence: the cadence cannot be understood.
    """
    search, zone = compile_cadence(cadence), zone_of(cadence)
    last = search.last if until is None else min(search.last, instant_of(until))
    skipped = {instant_of(skip) for skip in skips if skip.microsecond == 0}
    listed: list[PreviewedOccurrence] = []
    counted = 0
    at = max(within_horizon(instant_of(after)), search.first - 1)
    while counted < count and len(listed) < MAX_LISTED:
        found = search.timeline.next(at)
        if found is None or found > last:
            return Preview(listed, exhausted=_is_exhausted(search, at))
        at = found
        listed.append(_previewed(cadence, schedule_id, at, _marks(search, zone, at, skipped)))
        counted += not listed[-1].left_out
    return Preview(listed, exhausted=_is_exhausted(search, at), gave_up=counted < count)


def _previewed(
    cadence: Cadence, schedule_id: str | None, at: int, marks: tuple[Mark, ...]
) -> PreviewedOccurrence:
    nominal = moment_of(at)
    return PreviewedOccurrence(
        nominal_at=nominal,
        local=nominal.astimezone(zone_of(cadence).rules),
        due_at=nominal if schedule_id is None else due_at(cadence, schedule_id, nominal),
        marks=marks,
    )


def _marks(search: Search, zone: Zone, at: int, skipped: AbstractSet[int]) -> tuple[Mark, ...]:
    timeline = search.timeline
    checks = {
        Mark.DST_GAP: isinstance(timeline, CronTimeline) and timeline.is_moved(at),
        Mark.DST_FOLD: isinstance(timeline, CronTimeline) and zone.at(at).comes_twice(at),
        Mark.EXCLUDED: search.exclusions is not None and search.exclusions.until(at) is not None,
        Mark.SKIPPED: at in skipped,
    }
    return tuple(mark for mark, applies in checks.items() if applies)


def _is_exhausted(search: Search, at: int) -> bool:
    try:
        return at >= HORIZON_END or search.next(at) is None
    except InvalidCadence:
        return False  # the search gave up: nobody knows
