"""The raw occurrences of a cadence: before its window and its exclusions.

Instants are whole seconds since the Unix epoch, within the horizon of zones.py. Three kinds, one
interface: `next(after)` is the first occurrence later than `after`, `previous(before)` the last one
earlier than `before`, `count(low, high)` their number in `[low, high)`.
"""

from dataclasses import dataclass
from typing import Protocol

from schedules_pipeline.domain.cron import Cron
from schedules_pipeline.domain.zones import HORIZON_END, HORIZON_START, Stretch, Zone


class Timeline(Protocol):
    """Raw occurrences, in both directions."""

    def next(self, after: int) -> int | None:
        """The first occurrence later than `after`, None when there is none within the horizon."""

    def previous(self, before: int) -> int | None:
        """The last occurrence earlier than `before`, None when there is none."""

    def count(self, low: int, high: int) -> int:
        """How many lie in `[low, high)`, without walking along them."""


@dataclass(frozen=True, slots=True)
class SingleTimeline:
    """One instant."""

    instant: int

    def next(self, after: int) -> int | None:
        return self.instant if after < self.instant else None

    def previous(self, before: int) -> int | None:
        return self.instant if self.instant < before else None

    def count(self, low: int, high: int) -> int:
        return int(low <= self.instant < high)


@dataclass(frozen=True, slots=True)
class IntervalTimeline:
    """Every `seconds`, counted from the Unix epoch plus `phase`."""

    seconds: int
    phase: int

    def next(self, after: int) -> int | None:
        after = max(after, HORIZON_START - 1)
        found = self._at_or_before(after) + self.seconds
        return found if found < HORIZON_END else None

    def previous(self, before: int) -> int | None:
        found = self._at_or_before(min(before, HORIZON_END) - 1)
        return found if found >= HORIZON_START else None

    def count(self, low: int, high: int) -> int:
        low, high = max(low, HORIZON_START), min(high, HORIZON_END)
        if high <= low:
            return 0
        return (self._at_or_before(high - 1) - self._at_or_before(low - 1)) // self.seconds

    def _at_or_before(self, instant: int) -> int:
        return instant - (instant - self.phase) % self.seconds


@dataclass(frozen=True, slots=True)
class CronTimeline:
    """Wall-clock times of a zone, as instants.

    Where the clocks are put forward, wall times are jumped over: with `run_after_gap` the first
    instant after the jump stands for all of them (once, and not in addition to a regular occurrence
    at that instant). Where they are put back, wall times come twice: `first_pass` and `second_pass`
    say which of the two count.

    The search walks from stretch to stretch. Each stretch is plain arithmetic; only where one
    begins is there something to decide.
    """

    cron: Cron
    zone: Zone
    run_after_gap: bool
    first_pass: bool
    second_pass: bool

    def next(self, after: int) -> int | None:
        after = max(after, HORIZON_START - 1)
        if after >= HORIZON_END - 1:
            return None
        stretches = self.zone.stretches
        index = self.zone.index_at(max(after, HORIZON_START))
        stretch = stretches[index]
        wall = self.cron.next_wall(max(after, self._opens(stretch) - 1) + stretch.offset)
        while wall is None or wall - stretch.offset >= self._closes(stretch):
            index += 1
            if index == len(stretches):
                return None
            stretch = stretches[index]
            gap = stretch.gap
            if gap and wall is not None and wall < gap[1]:
                # `wall` is the first match not before the gap, so it lies in it.
                if self.run_after_gap:
                    return stretch.start
                wall = self.cron.next_wall(gap[1] - 1)
            elif self.second_pass and stretch.second_pass_until > stretch.start:
                wall = self.cron.next_wall(stretch.start + stretch.offset - 1)
        return wall - stretch.offset

    def previous(self, before: int) -> int | None:
        before = min(before, HORIZON_END)
        if before <= HORIZON_START:
            return None
        stretches = self.zone.stretches
        index = self.zone.index_at(before - 1)
        stretch = stretches[index]
        wall = self.cron.previous_wall(min(before, self._closes(stretch)) + stretch.offset)
        while wall is None or wall - stretch.offset < self._opens(stretch):
            gap = stretch.gap
            if gap and wall is not None and wall >= gap[0]:
                # `wall` is the last match before the gap's end, so it lies in it.
                if self.run_after_gap:
                    return stretch.start
                wall = self.cron.previous_wall(gap[0])
            was_repeated = stretch.second_pass_until > stretch.start
            index -= 1
            if index < 0:
                return None
            stretch = stretches[index]
            if was_repeated and self.first_pass:
                wall = self.cron.previous_wall(stretch.end + stretch.offset)
        return wall - stretch.offset

    def count(self, low: int, high: int) -> int:
        low, high = max(low, HORIZON_START), min(high, HORIZON_END)
        if high <= low:
            return 0
        stretches = self.zone.stretches[self.zone.index_at(low) : self.zone.index_at(high - 1) + 1]
        return sum(self._count_in(stretch, low, high) for stretch in stretches)

    def _count_in(self, stretch: Stretch, low: int, high: int) -> int:
        opens, closes = max(low, self._opens(stretch)), min(high, self._closes(stretch))
        regular = self.cron.count(opens + stretch.offset, closes + stretch.offset)
        return regular + int(low <= stretch.start and self._begins_moved(stretch))

    def is_moved(self, instant: int) -> bool:
        """Whether the occurrence at `instant` stands for wall times that a gap swallowed."""
        stretch = self.zone.at(instant)
        return instant == stretch.start and self._begins_moved(stretch)

    def loses_in_gap(self, stretch: Stretch) -> bool:
        """Whether the gap before the stretch swallows wall times of a cadence with fixed ones."""
        gap = stretch.gap
        return gap is not None and not self.cron.every_hour and self.cron.count(*gap) > 0

    def _begins_moved(self, stretch: Stretch) -> bool:
        gap = stretch.gap
        if gap is None or not self.run_after_gap:
            return False
        return self.cron.count(*gap) > 0 and self.cron.count(gap[1], gap[1] + 1) == 0

    def _opens(self, stretch: Stretch) -> int:
        """From here on the stretch's own wall times count."""
        return stretch.start if self.second_pass else stretch.second_pass_until

    def _closes(self, stretch: Stretch) -> int:
        """From here on they count no longer."""
        return stretch.end if self.first_pass else stretch.first_pass_from
