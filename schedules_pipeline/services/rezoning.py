"""Newer zone rules: clocks that were set under others are set anew, before anything is planned."""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from schedules_pipeline.domain.occurrences import due_at, occurrences
from schedules_pipeline.domain.planning import INSTANT, first_occurrence
from schedules_pipeline.errors import InvalidCadence
from schedules_pipeline.services.planning import realign_ahead
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import OutdatedClock

CLOCKS_PER_TICK = 5_000
CLOCKS_PER_TRANSACTION = 500

Position = tuple[datetime, datetime]


def bring_up_to_date(store: Store, tzdata_version: str) -> None:
    """Set at most 5,000 clocks anew; the next tick goes on.

    A clock goes to the first occurrence, by the rules in use now, behind what is accounted for.
    So nothing that the new rules moved forward in time is lost (late, it is a matter of catch-up),
    and what is planned is planned once: its row stands, or is cancelled if it no longer is an
    occurrence.
    """
    for _ in range(CLOCKS_PER_TICK // CLOCKS_PER_TRANSACTION):
        found = store.run(
            lambda tx: tx.clocks.outdated(tzdata_version, limit=CLOCKS_PER_TRANSACTION)
        )
        if not found:
            return
        moves = {clock.reading.schedule.id: _moved_to(clock) for clock in found}
        if not store.run(lambda tx: _set(tx, found, moves, tzdata_version)):  # noqa: B023
            return  # Others hold those rows; the next tick tries again.


def _set(
    tx: Transaction,
    found: Sequence[OutdatedClock],
    moves: dict[str, Position | None],
    tzdata_version: str,
) -> bool:
    """False when none could be locked as it was read."""
    tx.switches.hold()
    ours = tx.clocks.lock_unchanged([clock.reading for clock in found])
    if not ours:
        return False
    now = tx.now()
    for clock in found:
        schedule = clock.reading.schedule
        if schedule.id in ours and moves[schedule.id] != _stands_at(clock):
            realign_ahead(tx, schedule, now)
    tx.clocks.set_under(tzdata_version, {key: moves[key] for key in sorted(ours)})
    return True


def _stands_at(clock: OutdatedClock) -> Position:
    return clock.reading.next_nominal_at, clock.reading.next_due_at


def _moved_to(clock: OutdatedClock) -> Position | None:
    """Where the clock stands already, if the new rules change nothing there."""
    try:
        first = _first_unaccounted(clock)
        return _stands_at(clock) if _same_ahead(clock, first) else first
    except InvalidCadence:
        return _stands_at(clock)  # Planning says so, at every tick.


def _first_unaccounted(clock: OutdatedClock) -> Position | None:
    """Behind the last fire that is due, the last gap, and the change that set the clock.

    A change after which the clock still is behind did not set it: then it is the clock that counts.
    """
    schedule = clock.reading.schedule
    before = clock.reading.next_due_at - INSTANT
    after = before if clock.changed_at is None else min(clock.changed_at, before)
    found = first_occurrence(schedule, after)
    passed = [t for t in (clock.last_nominal_at, _before(clock.gap_until)) if t is not None]
    if found is None or not passed or found[0] > max(passed):
        return found
    nominal = next(occurrences(schedule.cadence, max(passed)), None)
    return None if nominal is None else (nominal, due_at(schedule.cadence, schedule.id, nominal))


def _before(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant - INSTANT


def _same_ahead(clock: OutdatedClock, first: Position | None) -> bool:
    """Whether what is planned ahead, and then the clock's own place, is what comes now too."""
    if first is None:
        return False
    wanted = [*clock.ahead, clock.reading.next_nominal_at]
    coming = occurrences(clock.reading.schedule.cadence, first[0] - INSTANT)
    return list(islice(coming, len(wanted))) == wanted and _due_as_it_stands(clock)


def _due_as_it_stands(clock: OutdatedClock) -> bool:
    schedule = clock.reading.schedule
    nominal, due = _stands_at(clock)
    return due_at(schedule.cadence, schedule.id, nominal) == due
