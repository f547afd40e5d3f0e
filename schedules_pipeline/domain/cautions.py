"""What a person may not have thought of when writing a cadence."""

from datetime import datetime

from schedules_pipeline.domain import cron_fields
from schedules_pipeline.domain.cadence import Cadence, DstGap, compile_cadence
from schedules_pipeline.domain.cron import wall_of
from schedules_pipeline.domain.cron_fields import Field
from schedules_pipeline.domain.expression import Every, Fields, parse
from schedules_pipeline.domain.search import Search, within_horizon
from schedules_pipeline.domain.timeline import CronTimeline
from schedules_pipeline.domain.zones import Stretch, instant_of
from schedules_pipeline.errors import InvalidCadence

MANY_A_DAY = 1_000
_DAY = 86_400
_GAP_LOOKAHEAD = 5 * 366 * _DAY
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_UNITS = (("day", _DAY), ("hour", 3_600), ("minute", 60), ("second", 1))


def warnings(cadence: Cadence, now: datetime) -> list[str]:
    """What is legal, but may surprise: one English sentence each.

    Raises:
        InvalidCadence: the cadence cannot be understood.
    """
    search = compile_cadence(cadence)
    fields = _fields(cadence)
    found = [_ended(search, now), _too_many(cadence, search)]
    if fields is not None:
        found += [_short_months(fields), _either_day(search)]
        found += [
            _uneven_step(cron_fields.SECOND, fields.second, "minute"),
            _uneven_step(cron_fields.MINUTE, fields.minute, "hour"),
            _uneven_step(cron_fields.HOUR, fields.hour, "day"),
            _next_gap(cadence, search, now),
        ]
    return [text for text in found if text]


def duration_text(seconds: int) -> str:
    """`5400` as `1 hour 30 minutes`."""
    said = []
    for unit, size in _UNITS:
        number, seconds = divmod(seconds, size)
        if number:
            said.append(f"{number} {unit}{'' if number == 1 else 's'}")
    return " ".join(said) or "0 seconds"


def _fields(cadence: Cadence) -> Fields | None:
    if cadence.cron_expression is None:
        return None
    when = parse(cadence.cron_expression).when
    return None if isinstance(when, Every) else when


def _ended(search: Search, now: datetime) -> str | None:
    try:
        if search.next(within_horizon(instant_of(now))) is None:
            return f"never fires again after {now.isoformat(timespec='seconds')}"
    except InvalidCadence as gave_up:
        return str(gave_up)
    return None


def _too_many(cadence: Cadence, search: Search) -> str | None:
    """Counted on the busiest possible day: one on which the cadence fires at all."""
    first = search.timeline.next(max(search.first - 1, 0))
    if cadence.fire_at is not None or first is None:
        return None
    number = search.timeline.count(first, first + _DAY)
    if number <= MANY_A_DAY:
        return None
    return f"fires up to {number:,} times a day: each one starts a task"


def _short_months(fields: Fields) -> str | None:
    text = fields.day_of_month
    if text.startswith("*") or "L" in text:
        return None
    days = cron_fields.values(cron_fields.DAY_OF_MONTH, text)
    months = cron_fields.values(cron_fields.MONTH, fields.month)
    if months == {2} and 29 in days:
        return "29 February comes in leap years only"
    missing = sorted(
        day for day in days if len(days) < 31 and any(day > _days_in(month) for month in months)
    )
    if not missing:
        return None
    named = " and no ".join(f"{day}th" if day < 31 else "31st" for day in missing)
    return f"some of its months have no {named}; 'L' as day-of-month means the last day of each"


def _days_in(month: int) -> int:
    return 28 if month == 2 else _MONTH_DAYS[month - 1]


def _either_day(search: Search) -> str | None:
    timeline = search.timeline
    if not isinstance(timeline, CronTimeline) or not timeline.cron.takes_either_day:
        return None
    return (
        "day-of-month and day-of-week are both given, and a day that matches either of them "
        "counts; set cron_day_match to 'all' if it must match both"
    )


def _uneven_step(field: Field, text: str, whole: str) -> str | None:
    base, _, step = text.partition("/")
    size = field.last + 1
    if base != "*" or not step.isdigit() or size % int(step) == 0:
        return None
    seconds = int(step) * {"second": 1, "minute": 60, "hour": 3_600}[field.name]
    return (
        f"{field.name} {text!r} starts anew with each {whole}, so it is not every "
        f"{duration_text(seconds)}; for that use interval_seconds {seconds}"
    )


def _next_gap(cadence: Cadence, search: Search, now: datetime) -> str | None:
    """The next occurrence that falls into hours that the clocks jump over."""
    timeline = search.timeline
    if not isinstance(timeline, CronTimeline):
        return None
    begin = max(within_horizon(instant_of(now)), search.first)
    end = min(begin + _GAP_LOOKAHEAD, search.last)
    for stretch in timeline.zone.stretches:
        if begin <= stretch.start <= end and timeline.loses_in_gap(stretch):
            return _gap_text(cadence, timeline, stretch)
    return None


def _gap_text(cadence: Cadence, timeline: CronTimeline, stretch: Stretch) -> str:
    gap = stretch.gap
    assert gap is not None  # only a stretch with a gap can lose anything in it
    jump = f"{wall_of(gap[0]):%H:%M} to {wall_of(gap[1]):%H:%M}"
    text = (
        f"falls into a DST gap on {wall_of(gap[0]):%Y-%m-%d}: in {timeline.zone.name} the clocks "
        f"jump from {jump}"
    )
    if timeline.cron.finer_than_a_day:
        return f"{text}; times within do not exist, and a cadence with a step does not move them"
    if cadence.dst_gap is DstGap.SKIP:
        return f"{text}; what falls into it is dropped (dst_gap 'skip')"
    return f"{text}; it runs at the first instant after it (dst_gap 'run_after')"
