"""What a person may write as a cron expression, taken apart and checked.

[CRON_TZ=<zone>] <5, 6 or 7 fields>        fields: see cron_fields.py
[CRON_TZ=<zone>] @hourly | @daily | @midnight | @weekly | @monthly | @yearly | @annually
[CRON_TZ=<zone>] @every <duration>[/<phase>]      durations: 90s, 15m, 1h30m, 2d
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from schedules_pipeline.domain.cron_fields import FIELDS_BY_COUNT, normalize
from schedules_pipeline.errors import InvalidCadence

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_UNIT_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
MAX_INTERVAL_SECONDS = 36_600 * 86_400
_MAX_LENGTH = 1_000
_MAX_COMPLAINT = 200
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Every:
    """`@every`: an interval and its phase, in seconds."""

    seconds: int
    phase: int = 0


@dataclass(frozen=True, slots=True)
class Fields:
    """The seven fields in their normalized form: numbers, `*`, `-`, `/`, `,`, `L`, `#`."""

    second: str
    minute: str
    hour: str
    day_of_month: str
    month: str
    day_of_week: str
    year: str
    has_seconds: bool


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. `zone` is what its `CRON_TZ=` prefix says, whether it exists or not."""

    when: Fields | Every
    zone: str | None = None


@lru_cache(maxsize=4096)
def parse(text: str, field: str = "cron_expression") -> Expression:
    """Take `text` apart. `field` is the name under which the caller knows it.

    Raises:
        InvalidCadence: it is not of the dialect; names the value, its place and the allowed range.
    """
    if len(text) > _MAX_LENGTH:
        raise InvalidCadence(field, f"is longer than {_MAX_LENGTH} characters")
    zone, body = _split_zone(text.strip(), field)
    if not body:
        raise InvalidCadence(field, "is empty; write for example '0 9 * * mon-fri'")
    if body.startswith("@"):
        return Expression(_macro(body, field), zone)
    return Expression(_fields(body, field), zone)


def _split_zone(text: str, field: str) -> tuple[str | None, str]:
    if not text.upper().startswith("CRON_TZ="):
        return None, text
    prefix, _, body = text.partition(" ")
    zone = prefix.partition("=")[2]
    if not zone:
        raise InvalidCadence(field, "'CRON_TZ=' names no zone; write 'CRON_TZ=Europe/Berlin 0 9 …'")
    return zone, body.strip()


def _macro(body: str, field: str) -> Fields | Every:
    name, _, rest = body.partition(" ")
    if name.lower() == "@every":
        return _every(rest.strip(), field)
    expansion = _MACROS.get(body.lower())
    if expansion is None:
        known = ", ".join([*_MACROS, "@every <duration>"])
        raise InvalidCadence(field, f"{_shown(body)} is not known; use one of {known}")
    return _fields(expansion, field)


def _every(text: str, field: str) -> Every:
    duration, slash, phase_text = text.partition("/")
    seconds = _duration(duration, field)
    phase = _duration(phase_text, field) if slash else 0
    if seconds < 1:
        raise InvalidCadence(field, f"'@every {text}': the interval must be at least 1s")
    if seconds > MAX_INTERVAL_SECONDS:
        raise InvalidCadence(field, f"{_shown(text)}: the interval must be at most 36600d")
    if phase >= seconds:
        raise InvalidCadence(
            field, f"'@every {text}': the phase must be shorter than the interval ({seconds} s)"
        )
    return Every(seconds, phase)


def _duration(text: str, field: str) -> int:
    """Seconds of `1h30m`, `90s`, `2d`: each unit at most once, largest first."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text, re.ASCII)
    if not match or not text:
        raise InvalidCadence(
            field,
            f"{_shown(text)} is not a duration: write whole days, hours, minutes and seconds "
            "in this order, such as '90m', '1h30m' or '2d'",
        )
    units = zip(match.groups(), _UNIT_SECONDS.values(), strict=True)
    return sum(int(count) * unit for count, unit in units if count)


def _fields(body: str, field: str) -> Fields:
    parts = body.split()
    layout = FIELDS_BY_COUNT.get(len(parts))
    if layout is None:
        raise InvalidCadence(
            field,
            f"{_shown(body)} has {len(parts)} fields: use 5 (minute hour day-of-month month "
            "day-of-week), 6 (with a year at the end) or 7 (with seconds first and a year last)",
        )

    def refuse(message: str) -> InvalidCadence:
        return InvalidCadence(field, f"{message[:_MAX_COMPLAINT]} (in {_shown(body)})")

    written = [normalize(kind, part, refuse) for kind, part in zip(layout, parts, strict=True)]
    has_seconds = len(written) == 7
    second = written.pop(0) if has_seconds else "0"
    year = written.pop() if len(written) == 6 else "*"
    minute, hour, day_of_month, month, day_of_week = written
    return Fields(second, minute, hour, day_of_month, month, day_of_week, year, has_seconds)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…")
