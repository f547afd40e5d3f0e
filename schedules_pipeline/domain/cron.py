"""Which wall-clock times a cron expression means.

The matching of fields is `cronsim`'s (docs/decisions/0002-cron-library.md). Added here: the year
field, both readings of the two day fields, a bounded search, and whole spans for exclusions. No
zone is known here: times are wall seconds (see zones.py), and every day has 24 hours.
"""

from datetime import datetime, timedelta
from functools import cached_property, lru_cache

from cronsim import CronSim, CronSimError

from schedules_pipeline.domain import cron_fields
from schedules_pipeline.domain.expression import Fields
from schedules_pipeline.domain.zones import FIRST_YEAR, LAST_YEAR, WALL_EPOCH

_SECOND = timedelta(seconds=1)
_FIRST_WALL = WALL_EPOCH.replace(year=FIRST_YEAR) - timedelta(days=2)
_LAST_WALL = WALL_EPOCH.replace(year=LAST_YEAR + 1) + timedelta(days=2)
_EPOCH_DAY = WALL_EPOCH.date()
_DAY = 86_400


def wall_of(seconds: int) -> datetime:
    """A wall-clock time as a datetime without zone."""
    return WALL_EPOCH + timedelta(seconds=seconds)


def wall_seconds(wall: datetime) -> int:
    """The inverse of `wall_of`, rounded down."""
    since = wall - WALL_EPOCH
    return since.days * _DAY + since.seconds


class Cron:
    """One expression, ready to be searched in both directions.

    `match_all`: with both day fields restricted, a day must match both of them, not either.
    """

    def __init__(self, fields: Fields, *, match_all: bool) -> None:
        self.fields = fields
        self._years = (
            None if fields.year == "*" else cron_fields.values(cron_fields.YEAR, fields.year)
        )
        self._seconds = cron_fields.values(cron_fields.SECOND, fields.second)
        self._minutes = cron_fields.values(cron_fields.MINUTE, fields.minute)
        self._hours = cron_fields.values(cron_fields.HOUR, fields.hour)
        self._simulator = _simulator(fields, match_all=match_all)

    @cached_property
    def finer_than_a_day(self) -> bool:
        """Whether it fires in several hours by a wildcard or step, or in every hour of the day."""
        hour = self.fields.hour
        repeats = "*" in hour or "/" in hour
        return len(self._hours) == 24 or (repeats and len(self._hours) > 1)

    @property
    def every_hour(self) -> bool:
        """Whether no hour of the day is left out."""
        return len(self._hours) == 24

    @property
    def needs_both_days(self) -> bool:
        """Whether a day must match both day fields; else one of them is enough."""
        return self._simulator is None or bool(self._simulator.day_and)

    @property
    def takes_either_day(self) -> bool:
        """Whether both day fields are restricted and one of them is enough."""
        restricted = "*" not in (self.fields.day_of_month, self.fields.day_of_week)
        return restricted and not self.needs_both_days

    @cached_property
    def first_wall(self) -> int | None:
        """The first matching wall time there is, None when there is none at all (30 February)."""
        return self._search(wall_seconds(_FIRST_WALL), reverse=False)

    @cached_property
    def last_wall(self) -> int | None:
        """The last matching wall time there is, None when there is none at all (30 February)."""
        return self._search(wall_seconds(_LAST_WALL), reverse=True)

    def next_wall(self, after: int) -> int | None:
        """The first match later than `after`; None when there is none up to the year 2100."""
        # Knowing the end in advance keeps an expression that has run out from being searched for
        # in vain, decade after decade, each time somebody asks.
        if self.last_wall is None or after >= self.last_wall:
            return None
        return self._search(after, reverse=False)

    def previous_wall(self, before: int) -> int | None:
        """The last match earlier than `before`; None when there is none since the year 2000."""
        if self.first_wall is None or before <= self.first_wall:
            return None
        return self._search(before, reverse=True)

    def count(self, low: int, high: int) -> int:
        """How many matches lie in `[low, high)`. Costs a look at each day, not at each match."""
        if self._simulator is None or high <= low:
            return 0
        whole_days = sum(map(self._day_matches, range(low // _DAY, high // _DAY)))
        per_day = len(self._seconds) * len(self._minutes) * len(self._hours)
        return whole_days * per_day + self._rank(high) - self._rank(low)

    def _rank(self, wall: int) -> int:
        """How many matches lie on the day of `wall`, but before it."""
        if not self._day_matches(wall // _DAY):
            return 0
        minutes, second = divmod(wall % _DAY, 60)
        hour, minute = divmod(minutes, 60)
        seconds_before = sum(value < second for value in self._seconds)
        minutes_before = sum(value < minute for value in self._minutes)
        hours_before = sum(value < hour for value in self._hours)
        in_hour = minutes_before * len(self._seconds)
        in_hour += seconds_before if minute in self._minutes else 0
        in_day = hours_before * len(self._minutes) * len(self._seconds)
        return in_day + (in_hour if hour in self._hours else 0)

    def _day_matches(self, day: int) -> bool:
        """Whether the day, counted from 1970-01-01, matches the four fields that name days."""
        date = _EPOCH_DAY + timedelta(days=day)
        return (
            self._simulator is not None
            and date.month in self._simulator.months
            and (self._years is None or date.year in self._years)
            and self._simulator.match_day(date)
        )

    def matches(self, wall: int) -> bool:
        """Whether `wall` is a match; without a seconds field, whether its minute is one."""
        minutes, second = divmod(wall % _DAY, 60)
        hour, minute = divmod(minutes, 60)
        return (
            (not self.fields.has_seconds or second in self._seconds)
            and minute in self._minutes
            and hour in self._hours
            and self._day_matches(wall // _DAY)
        )

    def matches_until(self, wall: int) -> int:
        """Given that `wall` matches: as late a time as is cheap to tell, up to which all do.

        All of them do: the minute, hour, day or year of `wall`, whichever the fields fill.
        """
        if not self._whole_minutes:
            return wall
        if "minute" not in self._unrestricted:
            return wall - wall % 60 + 59
        if "hour" not in self._unrestricted:
            return wall - wall % 3_600 + 3_599
        if not {"day", "month"} <= self._unrestricted:
            return wall - wall % _DAY + _DAY - 1
        if self._years is None:
            return wall_seconds(_LAST_WALL)
        return wall_seconds(wall_of(wall).replace(month=12, day=31, hour=23, minute=59, second=59))

    def matches_since(self, wall: int) -> int:
        """The mirror image of `matches_until`."""
        if not self._whole_minutes:
            return wall
        if "minute" not in self._unrestricted:
            return wall - wall % 60
        if "hour" not in self._unrestricted:
            return wall - wall % 3_600
        if not {"day", "month"} <= self._unrestricted:
            return wall - wall % _DAY
        if self._years is None:
            return wall_seconds(_FIRST_WALL)
        return wall_seconds(wall_of(wall).replace(month=1, day=1, hour=0, minute=0, second=0))

    @cached_property
    def _whole_minutes(self) -> bool:
        fields = self.fields
        return not fields.has_seconds or len(self._seconds) == 60

    @cached_property
    def _unrestricted(self) -> frozenset[str]:
        fields = self.fields
        free = {
            "minute": len(self._minutes) == 60,
            "hour": len(self._hours) == 24,
            "day": fields.day_of_month == "*" and fields.day_of_week == "*",
            "month": len(cron_fields.values(cron_fields.MONTH, fields.month)) == 12,
        }
        return frozenset(name for name, is_free in free.items() if is_free)

    def _search(self, start: int, *, reverse: bool) -> int | None:
        at: datetime | None = min(max(wall_of(start), _FIRST_WALL), _LAST_WALL)
        while at is not None:
            at = self._wanted_year(at, reverse=reverse)
            if at is not None:
                at = self._simulate(at, reverse=reverse)
            if at is not None and (self._years is None or at.year in self._years):
                return wall_seconds(at)
        return None

    def _simulate(self, at: datetime, *, reverse: bool) -> datetime | None:
        """cronsim's next match within the horizon.

        It gives up after 50 years, which means never: no two matches are further apart than the
        40 years that lie between two leap days on the same weekday around 2100.
        """
        if self._simulator is None:
            return None
        # Copied, for parsing anew would cost more than the search.
        sim = CronSim.__new__(CronSim)
        sim.__dict__.update(self._simulator.__dict__)
        sim.dt = at
        sim.tick_direction = -1 if reverse else 1
        found: datetime | None = next(sim, None)
        return found if found is not None and _FIRST_WALL <= found <= _LAST_WALL else None

    def _wanted_year(self, at: datetime, *, reverse: bool) -> datetime | None:
        """`at`, moved just before (or, in reverse, after) the nearest wanted year."""
        years = self._years
        if years is None or at.year in years:
            return at
        if reverse:
            earlier = [year for year in years if year < at.year]
            return WALL_EPOCH.replace(year=max(earlier) + 1) if earlier else None
        later = [year for year in years if year > at.year]
        return WALL_EPOCH.replace(year=min(later)) - _SECOND if later else None


@lru_cache(maxsize=4096)
def cron_of(fields: Fields, *, match_all: bool) -> Cron:
    """The one `Cron` for these fields: many schedules share an expression."""
    return Cron(fields, match_all=match_all)


def _simulator(fields: Fields, *, match_all: bool) -> CronSim | None:
    text = " ".join(
        (
            fields.second,
            fields.minute,
            fields.hour,
            fields.day_of_month,
            fields.month,
            fields.day_of_week,
        )
    )
    try:
        sim = CronSim(text, WALL_EPOCH)
    except CronSimError:
        # Every field was checked before: what is left is a day that no month has.
        return None
    if match_all:
        sim.day_and = True
    return sim
