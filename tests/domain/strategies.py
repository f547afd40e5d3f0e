"""Random expressions, with what they mean beside how they are written."""

from datetime import datetime, timedelta

from hypothesis import strategies as st

from schedules_pipeline.domain.zones import Zone, instant_of, load_zone, moment_of
from tests.domain.reference import Pattern
from tests.domain.time_tools import ZONES, at

_Part = tuple[str, frozenset[int]]


def _number(first: int, last: int) -> st.SearchStrategy[_Part]:
    return st.integers(first, last).map(lambda number: (str(number), frozenset([number])))


def _range(first: int, last: int) -> st.SearchStrategy[_Part]:
    ends = st.tuples(st.integers(first, last), st.integers(first, last)).map(sorted)
    return ends.map(lambda e: (f"{e[0]}-{e[1]}", frozenset(range(e[0], e[1] + 1))))


def _stepped(first: int, last: int) -> st.SearchStrategy[_Part]:
    steps = st.integers(1, last)
    wild = steps.map(lambda n: (f"*/{n}", frozenset(range(first, last + 1, n))))
    begun = st.tuples(st.integers(first, last), steps).map(
        lambda p: (f"{p[0]}/{p[1]}", frozenset(range(p[0], last + 1, p[1])))
    )
    return st.one_of(wild, begun)


def _listed(part: st.SearchStrategy[_Part]) -> st.SearchStrategy[_Part]:
    return st.lists(part, min_size=1, max_size=3).map(
        lambda parts: (
            ",".join(text for text, _ in parts),
            frozenset().union(*(numbers for _, numbers in parts)),
        )
    )


def _field(first: int, last: int) -> st.SearchStrategy[_Part]:
    some = _listed(st.one_of(_number(first, last), _range(first, last), _stepped(first, last)))
    every = st.just(("*", frozenset(range(first, last + 1))))
    return st.one_of(every, _number(first, last), some)


@st.composite
def patterns(draw: st.DrawFn, *, match_all: bool = False) -> Pattern:
    """An expression of five fields. Hours lean to the night, when clocks change."""
    minute_text, minutes = draw(_field(0, 59))
    hour_text, hours = draw(st.one_of(_field(0, 23), _field(0, 3)))
    if "/" in hour_text:  # a step of `_field(0, 3)` goes on to 23 in the real field
        hour_text, hours = draw(_field(0, 23))
    if hour_text == "*":
        hours = frozenset(range(24))
    day_text, days = draw(st.one_of(st.just(("*", frozenset(range(1, 32)))), _field(1, 31)))
    last_day = draw(st.booleans()) and day_text != "*" and "/" not in day_text
    if last_day:
        day_text, days = "L", frozenset()
    month_text, months = draw(st.one_of(st.just(("*", frozenset(range(1, 13)))), _field(1, 12)))
    weekday_text, weekdays = draw(
        st.one_of(st.just(("*", frozenset(range(7)))), _field(0, 6).filter(_plain))
    )
    restricted = not day_text.startswith("*") and not weekday_text.startswith("*")
    repeats = "*" in hour_text or "/" in hour_text
    return Pattern(
        text=f"{minute_text} {hour_text} {day_text} {month_text} {weekday_text}",
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=weekdays,
        last_day=last_day,
        either_day=restricted and not match_all,
        follows_elapsed_time=len(hours) == 24 or (repeats and len(hours) > 1),
    )


def _plain(part: _Part) -> bool:
    """Without a step: the real day-of-week field goes on to 7."""
    return "/" not in part[0]


@st.composite
def transitions(draw: st.DrawFn) -> tuple[Zone, datetime]:
    """A zone, and an instant at which its clocks change (any instant, when they never do)."""
    zone = load_zone(draw(st.sampled_from(ZONES)))
    first, last = instant_of(at("2001-01-01T00:00Z")), instant_of(at("2045-01-01T00:00Z"))
    changes = [s.start for s in zone.stretches if first <= s.start <= last]
    instant = (
        draw(st.sampled_from(changes))
        if changes
        else 60 * draw(st.integers(first // 60, last // 60))
    )
    return zone, moment_of(instant)


def seconds_around(moment: datetime, days: float) -> st.SearchStrategy[datetime]:
    """Instants within so many days of `moment`, with and without a fraction of a second."""
    span = int(days * 86_400)
    return st.builds(
        lambda seconds, fraction: moment + timedelta(seconds=seconds, microseconds=fraction),
        st.integers(-span, span),
        st.sampled_from([0, 0, 1, 500_000, 999_999]),
    )
