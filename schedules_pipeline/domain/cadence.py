"""When a schedule fires: its cadence, as data, and whether it makes sense."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from schedules_pipeline.domain.cron import cron_of
from schedules_pipeline.domain.expression import MAX_INTERVAL_SECONDS, Every, Expression, parse
from schedules_pipeline.domain.search import Exclusions, Search
from schedules_pipeline.domain.timeline import (
    CronTimeline,
    IntervalTimeline,
    SingleTimeline,
    Timeline,
)
from schedules_pipeline.domain.zones import (
    FIRST_YEAR,
    HORIZON_END,
    HORIZON_START,
    LAST_YEAR,
    Zone,
    instant_from,
    instant_of,
    load_zone,
)
from schedules_pipeline.errors import InvalidCadence

MAX_EXCLUSIONS = 50
MAX_JITTER_SECONDS = 86_400


class CronDayMatch(StrEnum):
    """When day-of-month and day-of-week are both restricted: what a day must match."""

    EITHER = "either"
    ALL = "all"


class DstGap(StrEnum):
    """What becomes of a wall-clock time that does not exist because clocks were put forward."""

    RUN_AFTER = "run_after"
    SKIP = "skip"


class DstFold(StrEnum):
    """Which one counts when a wall-clock time comes twice because clocks were put back."""

    FIRST = "first"
    LAST = "last"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When a schedule fires: a cron expression, an interval, or one instant.

    Exactly one of `cron_expression`, `interval_seconds` and `fire_at` is given. Any values can be
    held; `validate` says whether they make sense.

    Attributes:
        cron_expression: the dialect of expression.py, read in `timezone`.
        interval_seconds: seconds from one occurrence to the next, counted from the Unix epoch, plus
            `interval_phase_seconds` (at least 0, less than the interval). Knows no zone.
        fire_at: one instant; a fraction of a second is rounded up.
        timezone: an IANA name. A `CRON_TZ=` prefix says the same; beside a prefix, UTC (the
            default) counts as not given.
        cron_day_match: see `CronDayMatch`; for `exclude_cron` too.
        exclude_cron: expressions, read in the zone, at whose times nothing occurs. One without a
            seconds field excludes its whole minutes.
        dst_gap, dst_fold: see there. Cadences finer than a day (a wildcard or a step in the hour
            field) follow elapsed time instead: they fire at every instant whose wall-clock time
            matches.
        start_at, end_at: the window, both ends inclusive, compared exactly.
        jitter_seconds: a fire is due up to this much later than its occurrence.
    """

    cron_expression: str | None = None
    interval_seconds: int | None = None
    interval_phase_seconds: int = 0
    fire_at: datetime | None = None
    timezone: str = "UTC"
    cron_day_match: CronDayMatch = CronDayMatch.EITHER
    exclude_cron: tuple[str, ...] = ()
    dst_gap: DstGap = DstGap.RUN_AFTER
    dst_fold: DstFold = DstFold.FIRST
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter_seconds: int = 0


def validate(cadence: Cadence) -> None:
    """Refuse what cannot be understood or can never occur, whatever the present time.

    Raises:
        InvalidCadence: `field` names the culprit, the text says what to write instead.
    """
    _check_one_kind(cadence)
    _check_moments(cadence)
    _check_jitter(cadence)
    compiled = compile_cadence(cadence)
    if compiled.timeline.next(HORIZON_START - 1) is None:
        raise _never_comes(cadence)


def validate_new(cadence: Cadence, now: datetime) -> None:
    """`validate`, and refuse what has nothing left after `now`.

    Raises:
        InvalidCadence: as `validate`; or `fire_at` is past; or no occurrence is left; or whether
            one is left could not be told, because the search gave up.
    """
    validate(cadence)
    if cadence.fire_at is not None and cadence.fire_at <= now:
        raise InvalidCadence(
            "fire_at",
            f"{cadence.fire_at.isoformat()} is past (it is {now.isoformat()}); "
            "name an instant ahead",
        )
    compiled = compile_cadence(cadence)
    if compiled.next(instant_of(now)) is None:
        raise InvalidCadence(_kind_field(cadence), _nothing_left(cadence, compiled, now))


@lru_cache(maxsize=8192)
def compile_cadence(cadence: Cadence) -> Search:
    """The cadence, ready to be searched. Kept: the clock asks for the same ones again and again.

    Raises:
        InvalidCadence: there is no telling what it means. (`validate` refuses more.)
    """
    _check_one_kind(cadence)
    _check_interval(cadence)
    expression = parse(cadence.cron_expression) if cadence.cron_expression is not None else None
    zone = _zone(cadence, expression)
    return Search(
        timeline=_timeline(cadence, expression, zone),
        exclusions=_exclusions(cadence, zone),
        first=max(_first(cadence.start_at), HORIZON_START),
        last=min(_last(cadence.end_at), HORIZON_END - 1),
    )


def zone_of(cadence: Cadence) -> Zone:
    """The zone that the cadence is read in.

    Raises:
        InvalidCadence: there is no such zone, or `CRON_TZ=` and `timezone` contradict each other.
    """
    expression = parse(cadence.cron_expression) if cadence.cron_expression is not None else None
    return _zone(cadence, expression)


def _zone(cadence: Cadence, expression: Expression | None) -> Zone:
    prefix = expression.zone if expression else None
    if prefix is None:
        return load_zone(cadence.timezone)
    if cadence.timezone not in ("UTC", prefix):
        raise InvalidCadence(
            "timezone",
            f"{cadence.timezone!r} contradicts 'CRON_TZ={prefix}' in cron_expression; "
            "give one of them",
        )
    return load_zone(prefix, "cron_expression")


def _timeline(cadence: Cadence, expression: Expression | None, zone: Zone) -> Timeline:
    if cadence.fire_at is not None:
        return SingleTimeline(_first(cadence.fire_at))
    if cadence.interval_seconds is not None:
        return IntervalTimeline(cadence.interval_seconds, cadence.interval_phase_seconds)
    assert expression is not None  # exactly one of the three kinds is given
    if isinstance(expression.when, Every):
        return IntervalTimeline(expression.when.seconds, expression.when.phase)
    cron = cron_of(expression.when, match_all=cadence.cron_day_match is CronDayMatch.ALL)
    fold = DstFold.BOTH if cron.finer_than_a_day else cadence.dst_fold
    return CronTimeline(
        cron=cron,
        zone=zone,
        run_after_gap=cadence.dst_gap is DstGap.RUN_AFTER and not cron.finer_than_a_day,
        first_pass=fold is not DstFold.LAST,
        second_pass=fold is not DstFold.FIRST,
    )


def _exclusions(cadence: Cadence, zone: Zone) -> Exclusions | None:
    if not cadence.exclude_cron:
        return None
    if len(cadence.exclude_cron) > MAX_EXCLUSIONS:
        raise InvalidCadence("exclude_cron", f"holds more than {MAX_EXCLUSIONS} expressions")
    match_all = cadence.cron_day_match is CronDayMatch.ALL
    crons = []
    for text in cadence.exclude_cron:
        expression = parse(text, "exclude_cron")
        if isinstance(expression.when, Every):
            raise InvalidCadence("exclude_cron", f"{text!r} is an interval; give cron fields")
        if expression.zone not in (None, zone.name):
            raise InvalidCadence(
                "exclude_cron", f"{text!r} names another zone than the schedule's, {zone.name!r}"
            )
        crons.append(cron_of(expression.when, match_all=match_all))
    return Exclusions(tuple(crons), zone)


def _first(moment: datetime | None) -> int:
    """The first whole second that is not before `moment`."""
    return HORIZON_START if moment is None else instant_from(moment)


def _last(moment: datetime | None) -> int:
    """The last whole second that is not after `moment`."""
    return HORIZON_END - 1 if moment is None else instant_of(moment)


def _check_one_kind(cadence: Cadence) -> None:
    kinds = {
        "cron_expression": cadence.cron_expression,
        "interval_seconds": cadence.interval_seconds,
        "fire_at": cadence.fire_at,
    }
    given = [name for name, value in kinds.items() if value is not None]
    if not given:
        raise InvalidCadence(
            "cron_expression", "is missing; give cron_expression, interval_seconds or fire_at"
        )
    if len(given) > 1:
        raise InvalidCadence(given[1], f"cannot stand beside {given[0]}; give one of them")


def _check_interval(cadence: Cadence) -> None:
    seconds, phase = cadence.interval_seconds, cadence.interval_phase_seconds
    if seconds is None:
        if phase:
            raise InvalidCadence(
                "interval_phase_seconds", "belongs to interval_seconds, which is not given"
            )
        return
    if not 1 <= seconds <= MAX_INTERVAL_SECONDS:
        raise InvalidCadence(
            "interval_seconds", f"{seconds} is not within 1 to {MAX_INTERVAL_SECONDS:,} seconds"
        )
    if not 0 <= phase < seconds:
        raise InvalidCadence(
            "interval_phase_seconds",
            f"{phase} is not at least 0 and less than interval_seconds ({seconds})",
        )


def _check_moments(cadence: Cadence) -> None:
    moments = {
        "fire_at": cadence.fire_at,
        "start_at": cadence.start_at,
        "end_at": cadence.end_at,
    }
    for name, moment in moments.items():
        if moment is not None and moment.utcoffset() is None:
            raise InvalidCadence(
                name, f"{moment.isoformat()} has no offset; write for example '…T09:00:00Z'"
            )
    if cadence.fire_at is not None and not HORIZON_START <= _first(cadence.fire_at) < HORIZON_END:
        raise InvalidCadence(
            "fire_at", f"{cadence.fire_at.isoformat()} is outside {FIRST_YEAR}-{LAST_YEAR}"
        )
    if cadence.start_at and cadence.end_at and cadence.end_at < cadence.start_at:
        raise InvalidCadence(
            "end_at",
            f"{cadence.end_at.isoformat()} is before start_at ({cadence.start_at.isoformat()})",
        )


def _check_jitter(cadence: Cadence) -> None:
    if not 0 <= cadence.jitter_seconds <= MAX_JITTER_SECONDS:
        raise InvalidCadence(
            "jitter_seconds",
            f"{cadence.jitter_seconds} is not within 0 to {MAX_JITTER_SECONDS} seconds",
        )


def _kind_field(cadence: Cadence) -> str:
    """The field that a message about the whole cadence is hung on."""
    if cadence.cron_expression is not None:
        return "cron_expression"
    return "fire_at" if cadence.fire_at is not None else "interval_seconds"


def _never_comes(cadence: Cadence) -> InvalidCadence:
    return InvalidCadence(
        _kind_field(cadence),
        f"{cadence.cron_expression!r} names a time that never comes between {FIRST_YEAR} and "
        f"{LAST_YEAR}; look at day-of-month, month and year together",
    )


def _nothing_left(cadence: Cadence, compiled: Search, now: datetime) -> str:
    since = f"never fires again after {now.isoformat()}"
    if compiled.timeline.next(instant_of(now)) is None:
        return f"{since}; it has no occurrence left up to the year {LAST_YEAR}"
    if cadence.end_at is not None and cadence.end_at <= now:
        return f"{since}; end_at ({cadence.end_at.isoformat()}) is past"
    return f"{since}; look at start_at, end_at and exclude_cron, which leave nothing of it"
