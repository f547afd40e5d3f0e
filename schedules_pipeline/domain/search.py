"""Finding occurrences: a timeline, inside a window, without what is excluded. Always bounded."""

from dataclasses import dataclass

from schedules_pipeline.domain.cron import Cron
from schedules_pipeline.domain.timeline import Timeline
from schedules_pipeline.domain.zones import HORIZON_END, HORIZON_START, Zone, moment_of
from schedules_pipeline.errors import InvalidCadence

MAX_EXCLUDED = 20_000
"""How many excluded spans in a row one search looks past before it gives up.

A span is as much as one exclusion covers in one piece: a second, a minute, an hour, a day, a year.
20,000 excluded days are 54 years.
"""

MAX_COUNTED_SPANS = 50_000
"""How many excluded spans one count steps over before it gives up: days of a century, and more."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Wall times of a zone at which nothing occurs."""

    crons: tuple[Cron, ...]
    zone: Zone

    def until(self, instant: int) -> int | None:
        """None when `instant` is not excluded, else an instant from it to which everything is."""
        stretch = self.zone.at(instant)
        wall = instant + stretch.offset
        ends = [cron.matches_until(wall) for cron in self.crons if cron.matches(wall)]
        return min(max(ends) - stretch.offset, stretch.end - 1) if ends else None

    def next_change(self, instant: int) -> int:
        """Given that `instant` is not excluded: some later time up to which nothing is."""
        stretch = self.zone.at(instant)
        walls = [cron.next_wall(instant + stretch.offset) for cron in self.crons]
        return min([stretch.end, *(wall - stretch.offset for wall in walls if wall is not None)])

    def since(self, instant: int) -> int | None:
        """The mirror image of `until`."""
        stretch = self.zone.at(instant)
        wall = instant + stretch.offset
        starts = [cron.matches_since(wall) for cron in self.crons if cron.matches(wall)]
        return max(min(starts) - stretch.offset, stretch.start) if starts else None


@dataclass(frozen=True, slots=True)
class Search:
    """A compiled cadence. `first` and `last` are its window, inclusive, within the horizon."""

    timeline: Timeline
    exclusions: Exclusions | None
    first: int
    last: int

    def next(self, after: int, until: int = HORIZON_END) -> int | None:
        """The first occurrence later than `after` and not later than `until`.

        Raises:
            InvalidCadence: more than `MAX_EXCLUDED` excluded spans lay in the way.
        """
        after, last = max(after, self.first - 1), min(self.last, until)
        for _ in range(MAX_EXCLUDED):
            found = self.timeline.next(after)
            if found is None or found > last:
                return None
            excluded_until = self.exclusions.until(found) if self.exclusions else None
            if excluded_until is None:
                return found
            after = excluded_until
        raise _gave_up(after)

    def previous(self, before: int) -> int | None:
        """The last occurrence earlier than `before`.

        Raises:
            InvalidCadence: more than `MAX_EXCLUDED` excluded spans lay in the way.
        """
        before = min(before, self.last + 1)
        for _ in range(MAX_EXCLUDED):
            found = self.timeline.previous(before)
            if found is None or found < self.first:
                return None
            excluded_since = self.exclusions.since(found) if self.exclusions else None
            if excluded_since is None:
                return found
            before = excluded_since
        raise _gave_up(before)

    def count(self, low: int, high: int) -> int:
        """How many occurrences lie in `[low, high)`.

        Raises:
            InvalidCadence: there are more than `MAX_COUNTED_SPANS` excluded spans among them.
        """
        low, high = max(low, self.first), min(high, self.last + 1)
        if not self.exclusions:
            return self.timeline.count(low, high)
        number, at, spans = 0, low, 0
        while at < high:
            excluded_until = self.exclusions.until(at)
            if excluded_until is not None:
                at, spans = excluded_until + 1, spans + 1
                continue
            # Between two exclusions there is nothing to walk along: the timeline counts by itself.
            free_until = min(high, self.exclusions.next_change(at))
            number, at = number + self.timeline.count(at, free_until), free_until
            if spans > MAX_COUNTED_SPANS:
                raise _counted_too_long(at)
        return number


def within_horizon(instant: int) -> int:
    """`instant`, or the nearer end of the horizon."""
    return min(max(instant, HORIZON_START - 1), HORIZON_END)


def _counted_too_long(at: int) -> InvalidCadence:
    return InvalidCadence(
        "exclude_cron",
        f"counting gave up at {moment_of(at).isoformat()} after {MAX_COUNTED_SPANS:,} excluded "
        "spans; count over a shorter range",
    )


def _gave_up(at: int) -> InvalidCadence:
    return InvalidCadence(
        "exclude_cron",
        f"the search gave up at {moment_of(at).isoformat()} after {MAX_EXCLUDED:,} excluded spans "
        "in a row; let the exclusions leave something of the cadence, or set end_at",
    )
