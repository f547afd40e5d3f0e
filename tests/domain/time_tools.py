"""Time as tests write it: wall-clock times with offsets, so that each line says what it means."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from schedules_pipeline.domain.cadence import Cadence, zone_of
from schedules_pipeline.domain.occurrences import occurrences

THOROUGH = bool(os.environ.get("SCHEDULES_TEST_THOROUGH"))
"""Look at everything there is, for minutes; without it, at a good sample, for seconds."""

ZONES = (
    *("UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Lisbon"),
    *("Europe/Chisinau", "Europe/Istanbul", "Europe/Moscow", "Atlantic/Azores"),
    *("America/New_York", "America/Los_Angeles", "America/St_Johns", "America/Havana"),
    *("America/Asuncion", "America/Santiago", "America/Sao_Paulo", "America/Caracas"),
    *("America/Nuuk", "America/Scoresbysund", "America/Noronha", "Antarctica/Troll"),
    *("Asia/Beirut", "Asia/Gaza", "Asia/Amman", "Asia/Tehran", "Asia/Kathmandu"),
    *("Asia/Pyongyang", "Asia/Kolkata", "Asia/Tokyo", "Africa/Cairo", "Africa/Casablanca"),
    *("Australia/Lord_Howe", "Australia/Sydney", "Australia/Eucla", "Pacific/Auckland"),
    *("Pacific/Chatham", "Pacific/Apia", "Pacific/Kiritimati", "Pacific/Pago_Pago"),
    "Pacific/Norfolk",
)


def at(text: str) -> datetime:
    """An instant, written with its offset."""
    moment = datetime.fromisoformat(text)
    assert moment.utcoffset() is not None, f"{text} needs an offset"
    return moment.astimezone(UTC)


def cron(expression: str, zone: str = "UTC", **more: Any) -> Cadence:
    """A cadence of a cron expression."""
    return Cadence(cron_expression=expression, timezone=zone, **more)


def shown(moment: datetime, cadence: Cadence) -> str:
    """An instant as the wall clock of the cadence's zone shows it: `2026-03-29T03:00+02:00`."""
    timespec = "minutes" if moment.second == 0 else "seconds"
    return moment.astimezone(zone_of(cadence).rules).isoformat(timespec=timespec)


def local_times(cadence: Cadence, after: str, count: int) -> list[str]:
    """The first occurrences later than `after`, as wall-clock times with offsets."""
    return [shown(found, cadence) for found in islice(occurrences(cadence, at(after)), count)]


def minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    """Each full minute of real time from `start` (included) to `end` (excluded), in UTC."""
    moment = start
    while moment < end:
        yield moment
        moment += timedelta(minutes=1)
