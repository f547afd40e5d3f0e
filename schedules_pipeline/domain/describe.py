"""A cadence in English, and what a person may not have thought of when writing it."""

from datetime import datetime
from itertools import groupby

from cron_descriptor import ExpressionDescriptor, Options
from cron_descriptor.Exception import FormatError

from schedules_pipeline.domain import cron_fields
from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, compile_cadence, zone_of
from schedules_pipeline.domain.cautions import duration_text
from schedules_pipeline.domain.cron import cron_of
from schedules_pipeline.domain.expression import Every, Fields, parse

_MANY_YEARS = 6


def sentence(cadence: Cadence) -> str:
    """What the cadence means, in one English sentence.

    Raises:
        InvalidCadence: the cadence cannot be understood.
    """
    compile_cadence(cadence)
    zone = zone_of(cadence).name
    text = _when(cadence, zone)
    if cadence.start_at is not None:
        text += f", from {_instant(cadence.start_at)}"
    if cadence.end_at is not None:
        text += f", until {_instant(cadence.end_at)}"
    if cadence.exclude_cron:
        patterns = " or ".join(repr(pattern) for pattern in cadence.exclude_cron)
        text += f", except at times that match {patterns} ({zone})"
    return text


def _when(cadence: Cadence, zone: str) -> str:
    if cadence.fire_at is not None:
        return f"Once, at {_instant(cadence.fire_at)}"
    if cadence.cron_expression is None:
        return _interval(cadence.interval_seconds or 1, cadence.interval_phase_seconds)
    when = parse(cadence.cron_expression).when
    if isinstance(when, Every):
        return _interval(when.seconds, when.phase)
    return f"{_cron(when, cadence.cron_day_match)} ({zone})"


def _interval(seconds: int, phase: int) -> str:
    beyond = f" plus {duration_text(phase)}" if phase else ""
    return f"Every {duration_text(seconds)}, counted from 1970-01-01 00:00 UTC{beyond}"


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC{moment:%z}".removesuffix("+0000")


def _cron(fields: Fields, day_match: CronDayMatch) -> str:
    text = _described(fields) or _spelled_out(fields)
    if cron_of(fields, match_all=day_match is CronDayMatch.ALL).needs_both_days:
        text = text.replace(", or on ", ", and on ")
    return text + _years(fields)


def _described(fields: Fields) -> str | None:
    """cron-descriptor's sentence, None where it would go wrong.

    It words `L` and `#` wrongly inside lists, and reads a step as if it went on across the end of
    its range: those steps are given to it as the values they stand for.
    """
    special_lists = (fields.day_of_month, fields.day_of_week)
    if any("," in text and ("L" in text or "#" in text) for text in special_lists):
        return None
    parts = [
        _true_step(cron_fields.SECOND, fields.second),
        _true_step(cron_fields.MINUTE, fields.minute),
        _true_step(cron_fields.HOUR, fields.hour),
        _true_step(cron_fields.DAY_OF_MONTH, fields.day_of_month),
        _true_step(cron_fields.MONTH, fields.month),
        _true_step(cron_fields.DAY_OF_WEEK, fields.day_of_week),
    ]
    options = Options(locale_code="en_US", use_24hour_time_format=True)
    try:
        return str(ExpressionDescriptor(" ".join(parts), options).get_description())
    except FormatError:
        return None


def _true_step(field: cron_fields.Field, text: str) -> str:
    """The field as cron-descriptor reads it rightly."""
    if field is cron_fields.DAY_OF_WEEK and "/" not in text and "L" not in text and "#" not in text:
        covered = {day % 7 for day in cron_fields.values(field, text)}
        return "*" if len(covered) == 7 else text
    if "/" not in text:
        return text
    base, _, step = text.partition("/")
    size = field.last - field.first + 1
    is_time = field in (cron_fields.SECOND, cron_fields.MINUTE, cron_fields.HOUR)
    if is_time and base == "*" and size % int(step.partition(",")[0]) == 0 and "," not in text:
        return text
    numbers = cron_fields.values(field, text)
    if field is cron_fields.DAY_OF_WEEK:
        numbers = frozenset(day % 7 for day in numbers)
    return ",".join(map(str, sorted(numbers)))


def _spelled_out(fields: Fields) -> str:
    parts = {
        "second": fields.second,
        "minute": fields.minute,
        "hour": fields.hour,
        "day-of-month": fields.day_of_month,
        "month": fields.month,
        "day-of-week": fields.day_of_week,
    }
    said = [f"{name} {text}" for name, text in parts.items() if text != "*"]
    return "At times that match " + ", ".join(said)


def _years(fields: Fields) -> str:
    if fields.year == "*":
        return ""
    years = sorted(cron_fields.values(cron_fields.YEAR, fields.year))
    # Neighbours share the difference between value and position: the classic grouping into runs.
    runs = [
        [year for _, year in run] for _, run in groupby(enumerate(years), lambda p: p[1] - p[0])
    ]
    names = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    if len(names) > _MANY_YEARS:
        names = [*names[: _MANY_YEARS - 1], f"… {names[-1]}"]
    return f", only in {', '.join(names)}"
