"""The occurrences of a cadence: the instants at which it fires.

All datetimes are aware; what comes back is in UTC, in whole seconds, strictly ordered. Occurrences
exist in the years 2000 to 2100. Every search is bounded: it answers, says None for "there is none",
or raises when exclusions leave nothing of a cadence for too long (search.py).

One-off skips are not known here: they are rows of the store.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from schedules_pipeline.domain.cadence import Cadence, compile_cadence
from schedules_pipeline.domain.search import within_horizon
from schedules_pipeline.domain.zones import HORIZON_END, instant_from, instant_of, moment_of


def occurrences(
    cadence: Cadence, after: datetime, until: datetime | None = None
) -> Iterator[datetime]:
    """The occurrences later than `after`, up to and including `until`, one by one.

    Raises:
        InvalidCadence: the cadence cannot be understood, or the search gave up.
    """
    search = compile_cadence(cadence)
    last = HORIZON_END if until is None else instant_of(until)
    at = search.next(within_horizon(instant_of(after)), last)
    while at is not None:
        yield moment_of(at)
        at = search.next(at, last)


def next_occurrence(cadence: Cadence, after: datetime) -> datetime | None:
    """The first occurrence later than `after`, None when the cadence is exhausted.

    Raises:
        InvalidCadence: the cadence cannot be understood, or the search gave up.
    """
    found = compile_cadence(cadence).next(within_horizon(instant_of(after)))
    return None if found is None else moment_of(found)


def previous_occurrence(cadence: Cadence, before: datetime) -> datetime | None:
    """The last occurrence earlier than `before`, None when there is none.

    Raises:
        InvalidCadence: the cadence cannot be understood, or the search gave up.
    """
    found = compile_cadence(cadence).previous(within_horizon(instant_from(before)))
    return None if found is None else moment_of(found)


def count_occurrences(cadence: Cadence, after: datetime, until: datetime) -> int:
    """How many occurrences lie later than `after`, up to and including `until`.

    Raises:
        InvalidCadence: the cadence cannot be understood, or the search gave up.
    """
    search = compile_cadence(cadence)
    return search.count(instant_of(after) + 1, instant_of(until) + 1)


def due_at(cadence: Cadence, schedule_id: str, nominal: datetime) -> datetime:
    """`nominal` plus its jitter, to the millisecond: when the fire may be delivered.

    The jitter is the same each time it is asked for, at least 0, less than `jitter_seconds`, and
    less than the distance to the cadence's next raw occurrence (before window, exclusions and
    skips), so that fires keep their order and adding a skip moves no other fire.

    Raises:
        InvalidCadence: the cadence cannot be understood.
    """
    if cadence.jitter_seconds <= 0:
        return nominal
    at = instant_of(nominal)
    following = compile_cadence(cadence).timeline.next(within_horizon(at))
    room = cadence.jitter_seconds if following is None else following - at
    spread = min(cadence.jitter_seconds, room) * 1_000
    digest = hashlib.sha256(f"{schedule_id}\0{at}".encode()).digest()
    # The upper bits of the product: evenly spread over [0, spread), without a modulo's bias.
    return nominal + timedelta(milliseconds=int.from_bytes(digest[:8]) * spread >> 64)
