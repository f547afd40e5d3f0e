"""The cron dialect, field by field: from what a person wrote to plain numbers.

| field | range | also |
|---|---|---|
| second (7 fields only) | 0-59 | |
| minute | 0-59 | |
| hour | 0-23 | |
| day-of-month | 1-31 | `L` the last day, `LW` the last weekday |
| month | 1-12 | `jan`, `sept`, `december`: English names, at least 3 letters |
| day-of-week | 0-7, Sunday is 0 and 7 | `thu`, `thurs`; `5L` the last Friday; `fri#3` the third |
| year (6 and 7 fields) | 2000-2100 | |

Each is `*`, a value, a range `a-b`, any of these with a step `/n`, or a list of them with commas.
Ranges do not wrap around (`fri-mon` is refused), except that a range may end with Sunday.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from schedules_pipeline.domain.zones import FIRST_YEAR, LAST_YEAR

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


@dataclass(frozen=True, slots=True)
class Field:
    """One position of a cron expression."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()

    @property
    def range_text(self) -> str:
        """The allowed values, for a message."""
        if not self.names:
            return f"{self.first}-{self.last}"
        return f"{self.first}-{self.last} or {self.names[0][:3]}-{self.names[-1][:3]}"


SECOND = Field("second", 0, 59)
MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY_OF_MONTH = Field("day-of-month", 1, 31)
MONTH = Field("month", 1, 12, _MONTHS)
DAY_OF_WEEK = Field("day-of-week", 0, 7, _DAYS)
YEAR = Field("year", FIRST_YEAR, LAST_YEAR)

_DAILY_FIELDS = (MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)
FIELDS_BY_COUNT = {
    5: _DAILY_FIELDS,
    6: (*_DAILY_FIELDS, YEAR),
    7: (SECOND, *_DAILY_FIELDS, YEAR),
}

Refuse = Callable[[str], Exception]
"""Makes the error to raise from its message; the caller knows the expression and its field name."""


def normalize(field: Field, text: str, refuse: Refuse) -> str:
    """The same field with numbers for names, checked piece by piece.

    Raises:
        what `refuse` makes: the text is not of the dialect; names field, value and range.
    """
    return ",".join(_term(field, term, text, refuse) for term in text.split(","))


def values(field: Field, normalized: str) -> frozenset[int]:
    """The numbers that a normalized field without `L` and `#` stands for."""
    found: set[int] = set()
    for term in normalized.split(","):
        base, _, step = term.partition("/")
        low, _, high = base.partition("-")
        if base == "*":
            first, last = field.first, field.last
        else:
            first = int(low)
            last = int(high) if high else (field.last if step else first)
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def _term(field: Field, term: str, whole: str, refuse: Refuse) -> str:
    base, slash, step = term.partition("/")
    if not base or (slash and not step):
        raise refuse(f"{field.name} {whole!r} has a dangling ',' or '/': a value is missing")
    special = _special(field, base, refuse)
    if special:
        if slash:
            raise refuse(f"{field.name} {term!r}: {base!r} takes no step")
        return special
    if slash:
        _check_step(field, term, step, refuse)
    return _span(field, base, refuse) + slash + step


def _check_step(field: Field, term: str, step: str, refuse: Refuse) -> None:
    if not (step.isascii() and step.isdigit()):
        raise refuse(f"{field.name} {term!r}: the step {step!r} is not a whole number")
    if int(step) == 0:
        raise refuse(f"{field.name} {term!r}: the step must be at least 1")


def _special(field: Field, base: str, refuse: Refuse) -> str | None:
    """`L`, `LW`, `5L`, `fri#3` in their normalized form; None for anything else."""
    upper = base.upper()
    if field is DAY_OF_MONTH and upper in ("L", "LW"):
        return upper
    if field is not DAY_OF_WEEK:
        return None
    if upper == "L":
        raise refuse("day-of-week 'L' names no day: write the last Friday as '5L' or 'friL'")
    if "#" in base:
        day, _, number = base.partition("#")
        if number not in ("1", "2", "3", "4", "5"):
            raise refuse(f"day-of-week {base!r}: after '#' comes the week of the month, 1-5")
        return f"{_value(field, day, refuse)}#{number}"
    if upper.endswith("L"):
        return f"{_value(field, base[:-1], refuse)}L"
    return None


def _span(field: Field, base: str, refuse: Refuse) -> str:
    if base == "*":
        return base
    low_text, dash, high_text = base.partition("-")
    if not dash:
        return str(_value(field, base, refuse))
    if not low_text or not high_text:
        raise refuse(f"{field.name} {base!r} has a dangling '-': write a range as 'a-b'")
    if "-" in high_text:
        raise refuse(f"{field.name} {base!r} has more than one '-': write a range as 'a-b'")
    low, high = _value(field, low_text, refuse), _value(field, high_text, refuse)
    if field is DAY_OF_WEEK and high == 0 < low and not high_text.isdigit():
        high = 7
    if high < low:
        raise refuse(
            f"{field.name} {base!r} wraps around: write it as two ranges, "
            f"'{low}-{field.last},{field.first}-{high}'"
        )
    return f"{low}-{high}"


def _value(field: Field, text: str, refuse: Refuse) -> int:
    if text.isascii() and text.isdigit():
        number = int(text)
    elif field.names and re.fullmatch("[A-Za-z]{3,}", text):
        number = _named(field, text)
    else:
        number = -1
    if not field.first <= number <= field.last:
        raise refuse(f"{field.name} {text!r} is not a value of {field.range_text}")
    return number


def _named(field: Field, text: str) -> int:
    """The number of the one name that begins with these 3 or more letters, else -1."""
    for number, name in enumerate(field.names, field.first):
        if name.startswith(text.lower()):
            return number
    return -1
