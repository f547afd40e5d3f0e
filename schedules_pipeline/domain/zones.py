"""Time zones: where a zone's clocks show what, and when they are put forward or back.

The rules come from the `tzdata` package (the IANA time zone database), never from the system's zone
files: two machines of one deployment must not disagree about an instant. Which edition is in use
is `TZDATA_VERSION`.

A zone is held as its *stretches*: spans of real time in which its offset from UTC stays the same.
Inside a stretch the wall clock and real time run side by side; everything that is difficult about
daylight saving time happens where two stretches meet.

Instants are whole seconds since the Unix epoch. *Wall seconds* are the same number read off a
wall clock: `instant + offset`.
"""

import difflib
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import metadata, resources
from zoneinfo import ZoneInfo

from schedules_pipeline.errors import InvalidCadence

TZDATA_VERSION: str = metadata.version("tzdata")
"""The edition of the zone rules in use, e.g. `2026.6`."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WALL_EPOCH = EPOCH.replace(tzinfo=None)
"""The same for wall clocks, which know no zone."""

FIRST_YEAR, LAST_YEAR = 2000, 2100
HORIZON_START = int((datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())
HORIZON_END = int((datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())
"""Occurrences exist from HORIZON_START up to, not including, HORIZON_END (seconds)."""

# No zone keeps an offset for less than this after 2000 (Casablanca's Ramadan is the shortest, at
# four weeks), so looking once in this time finds every change. tests/domain/test_zones.py holds
# every zone of the package against it.
_LOOK_EVERY = 5 * 86_400


@dataclass(frozen=True, slots=True)
class Stretch:
    """A span of real time `[start, end)` with one offset from UTC (all in seconds)."""

    start: int
    end: int
    offset: int
    offset_before: int
    offset_after: int

    @property
    def gap(self) -> tuple[int, int] | None:
        """The wall seconds `[from, to)` that were jumped over as this stretch began, if any."""
        if self.offset_before < self.offset:
            return self.start + self.offset_before, self.start + self.offset
        return None

    @property
    def second_pass_until(self) -> int:
        """Until this instant the stretch repeats wall times of the one before (else its start)."""
        return self.start + max(0, self.offset_before - self.offset)

    @property
    def first_pass_from(self) -> int:
        """From this instant on its wall times will be repeated by the next (else its end)."""
        return self.end - max(0, self.offset - self.offset_after)

    def comes_twice(self, instant: int) -> bool:
        """Whether the wall time of `instant`, which lies in this stretch, comes twice."""
        return instant < self.second_pass_until or instant >= self.first_pass_from


class Zone:
    """A time zone's stretches over the horizon, ready to be searched."""

    def __init__(self, name: str, rules: ZoneInfo) -> None:
        self.name = name
        self.rules = rules
        self.stretches = _stretches(rules)
        self._starts = [stretch.start for stretch in self.stretches]

    def index_at(self, instant: int) -> int:
        """The number of the stretch that holds `instant`, which must lie within the horizon."""
        return bisect_right(self._starts, instant) - 1

    def at(self, instant: int) -> Stretch:
        """The stretch that holds `instant`."""
        return self.stretches[self.index_at(instant)]


def instant_of(moment: datetime) -> int:
    """Whole seconds since the Unix epoch, rounded down."""
    since = moment - EPOCH
    return since.days * 86_400 + since.seconds


def instant_from(moment: datetime) -> int:
    """Whole seconds since the Unix epoch, rounded up."""
    since = moment - EPOCH
    return since.days * 86_400 + since.seconds + (1 if since.microseconds else 0)


def moment_of(instant: int) -> datetime:
    """The inverse of `instant_of`, in UTC."""
    return EPOCH + timedelta(seconds=instant)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every zone name of the `tzdata` package, as it is spelled there."""
    return frozenset((resources.files("tzdata") / "zones").read_text("utf-8").split())


@lru_cache(maxsize=1024)
def load_zone(name: str, field: str = "timezone") -> Zone:
    """The zone called `name`. `field` is where the caller got it from, for the error.

    Raises:
        InvalidCadence: there is no such zone in the `tzdata` package.
    """
    # Membership comes first: a name is never used as a path before it is known to be one of ours.
    if name not in zone_names():
        raise InvalidCadence(field, _unknown(name))
    with (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return Zone(name, ZoneInfo.from_file(file, key=name))


def _unknown(name: str) -> str:
    wanted = name.strip().replace(" ", "_").casefold()
    by_folded = {known.casefold(): known for known in zone_names()}
    cities = {folded.rpartition("/")[2]: known for folded, known in sorted(by_folded.items())}
    close = difflib.get_close_matches(wanted, by_folded, n=1, cutoff=0.75)
    suggestion = (
        by_folded.get(wanted) or cities.get(wanted) or (by_folded[close[0]] if close else "")
    )
    hint = f"did you mean {suggestion!r}?" if suggestion else "use a name such as 'Europe/Berlin'."
    return f"{name[:64]!r} is not an IANA time zone (tzdata {TZDATA_VERSION}); {hint}"


def _offset(rules: ZoneInfo, instant: int) -> int:
    offset = moment_of(instant).astimezone(rules).utcoffset()
    assert offset is not None  # a ZoneInfo always knows its offset
    return offset.days * 86_400 + offset.seconds


def _stretches(rules: ZoneInfo) -> list[Stretch]:
    changes = _changes(rules)
    starts = [HORIZON_START, *(instant for instant, _ in changes)]
    ends = [*starts[1:], HORIZON_END]
    offsets = [_offset(rules, HORIZON_START), *(offset for _, offset in changes)]
    # At both ends of the horizon the clocks are taken to have stood still.
    before, after = [offsets[0], *offsets[:-1]], [*offsets[1:], offsets[-1]]
    return [Stretch(*parts) for parts in zip(starts, ends, offsets, before, after, strict=True)]


def _changes(rules: ZoneInfo) -> list[tuple[int, int]]:
    """Each instant within the horizon from which another offset holds, and that offset."""
    changes = []
    seen = _offset(rules, HORIZON_START)
    for look in range(HORIZON_START, HORIZON_END + _LOOK_EVERY, _LOOK_EVERY):
        look_at = min(look, HORIZON_END - 1)
        offset = _offset(rules, look_at)
        if offset != seen:
            changes.append((_first_instant(rules, look_at - _LOOK_EVERY, look_at, offset), offset))
            seen = offset
    return changes


def _first_instant(rules: ZoneInfo, low: int, high: int, offset: int) -> int:
    """The first instant in `(low, high]` from which `offset` holds."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(rules, middle) == offset:
            high = middle
        else:
            low = middle
    return high
