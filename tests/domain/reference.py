"""What occurrences should be, worked out in the most simple-minded way there is.

A scan of every minute of real time. It shares no code with the package but the zone's rules: the
fields are sets of numbers, the days are asked of `calendar`, the policies are applied one minute
at a time.
"""

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from schedules_pipeline.domain.cadence import DstFold, DstGap
from tests.domain.time_tools import minutes

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A cron expression without seconds, as sets of numbers, and how it is written."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    last_day: bool
    either_day: bool
    follows_elapsed_time: bool

    def matches(self, wall: datetime) -> bool:
        """Whether the wall-clock time `wall` matches."""
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.month in self.months
            and self._day_matches(wall)
        )

    def _day_matches(self, wall: datetime) -> bool:
        month_ends = calendar.monthrange(wall.year, wall.month)[1]
        by_date = wall.day in self.days or (self.last_day and wall.day == month_ends)
        by_weekday = wall.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.either_day else by_date and by_weekday


def scan(
    pattern: Pattern,
    rules: ZoneInfo,
    start: datetime,
    end: datetime,
    gap: DstGap,
    fold: DstFold,
) -> list[datetime]:
    """The occurrences from `start` (included) to `end` (excluded), minute by minute."""
    found = []
    before = (start - MINUTE).astimezone(rules)
    for moment in minutes(start, end):
        local = moment.astimezone(rules)
        wall = local.replace(tzinfo=None)
        counts = pattern.follows_elapsed_time or _pass_counts(local, fold)
        fires = counts and pattern.matches(wall)
        if gap is DstGap.RUN_AFTER and not pattern.follows_elapsed_time:
            fires = fires or any(map(pattern.matches, _jumped_over(before, local)))
        if fires:
            found.append(moment)
        before = local
    return found


def _pass_counts(local: datetime, fold: DstFold) -> bool:
    is_twice = local.replace(fold=0).utcoffset() > local.replace(fold=1).utcoffset()  # type: ignore[operator]
    if not is_twice or fold is DstFold.BOTH:
        return True
    return local.fold == (0 if fold is DstFold.FIRST else 1)


def _jumped_over(before: datetime, local: datetime) -> list[datetime]:
    """The wall-clock minutes between one real minute and the next that never came."""
    wall, last = before.replace(tzinfo=None, fold=0), local.replace(tzinfo=None, fold=0)
    jumped = []
    while (wall := wall + MINUTE) < last:
        jumped.append(wall)
    return jumped
