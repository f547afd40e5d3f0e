"""Backfills: deliver occurrences of the past, of a range or of an hour that the clock missed.

A backfill goes out while the schedule is paused, outside its window and beyond its limit, one fire
after another unless all may go at once. An occurrence has one fire: what has none gets it, what
ended undelivered is redriven, what was delivered stays so. Only `force` makes another.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from uuid import uuid4

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.occurrences import due_at, occurrences
from schedules_pipeline.domain.planning import INSTANT
from schedules_pipeline.domain.schedule import JsonObject, Schedule
from schedules_pipeline.domain.slices import HOUR, Slice, SliceKind, floor_hour, floor_minute
from schedules_pipeline.errors import InvalidCadence, InvalidInput, NotFound, Rejected
from schedules_pipeline.services.managing import require_schedule
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import Backfill, GapOf, MissedFire

MOST_INSTANTS = 10_000
FED_AT_ONCE = 5_000
GAPS_AT_ONCE = 2_000
MISSED_AT_ONCE = 5_000
FED_PER_TICK = 10
GAPS_PER_TICK = 1_000
HOURS_PER_GAP = 168

Dated = tuple[datetime, datetime]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOrder:
    """What a person asks for. Both ends of the range are inclusive."""

    from_at: datetime
    to_at: datetime
    allow_all: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillForecast:
    """What a backfill would do with the instants of its range."""

    instants: int
    new: int
    redriven: int
    forced: int
    left: int


class Backfills:
    """Backfills of a range, over REST and the command line."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def forecast(self, agent_id: str, schedule_id: str, order: BackfillOrder) -> BackfillForecast:
        """What it would do now; nothing is written. Errors: as `start`."""

        def look(tx: Transaction) -> BackfillForecast:
            schedule = require_schedule(tx, agent_id, schedule_id)
            dated = _range(schedule, order, tx.now())
            found = Counter(tx.backfills.standing(schedule.id, [nominal for nominal, _ in dated]))
            forced = found["delivered"] + found["skipped"] if order.force else 0
            return BackfillForecast(
                instants=len(dated),
                new=found["new"],
                redriven=found["redrive"],
                forced=forced,
                left=len(dated) - found["new"] - found["redrive"] - forced,
            )

        return self._store.run(look)

    def start(
        self, agent_id: str, schedule_id: str, order: BackfillOrder, actor: JsonObject
    ) -> Backfill:
        """Note it and feed its first part into the backlog; ticks feed the rest.

        Errors: NotFound; InvalidInput for a range that is empty, ahead, or of too many instants.
        """

        def start(tx: Transaction) -> Backfill:
            require_schedule(tx, agent_id, schedule_id)
            tx.clocks.lock(schedule_id)
            schedule = require_schedule(tx, agent_id, schedule_id)
            now = tx.now()
            dated = _range(schedule, order, now)
            backfill = _noted(schedule, order, dated, now)
            tx.backfills.insert(backfill, actor)
            _feed(tx, schedule, backfill)
            return _require(tx, backfill.id)

        return self._store.run(start)

    def get(self, backfill_id: str) -> Backfill:
        """How far it has come. Errors: NotFound."""
        return self._store.run(lambda tx: _require(tx, backfill_id))


def feed_backfills(store: Store) -> None:
    """The tick's part: the next 5,000 instants of each backfill that is not in the ledger yet."""
    for backfill in store.run(lambda tx: tx.backfills.being_fed(FED_PER_TICK)):
        try:
            store.run(partial(_feed_next, found=backfill))
        except InvalidCadence as error:
            # One schedule's cadence that can no longer be read stops nobody else's clock.
            log.error("backfill %s ends early: %s", backfill.id, error)
            store.run(partial(_end, found=backfill))


def _feed_next(tx: Transaction, found: Backfill) -> None:
    if not tx.clocks.lock_free([found.schedule_id]):
        return  # Someone is at it; the next tick comes back.
    backfill, schedule = _require(tx, found.id), tx.schedules.find(found.schedule_id)
    if schedule is None:
        _end(tx, backfill)
    elif backfill.next_at is not None:
        _feed(tx, schedule, backfill)


def _end(tx: Transaction, found: Backfill) -> None:
    """Feed it no further: the instants that got no fire of it count as left."""
    tx.clocks.lock(found.schedule_id)
    backfill = _require(tx, found.id)
    unfed = backfill.instants_count - backfill.left_count - sum(backfill.states.values())
    tx.backfills.advance(backfill.id, None, max(0, unfed))


def _feed(tx: Transaction, schedule: Schedule, backfill: Backfill) -> None:
    """Under the schedule's mutex: slices, then fires, then how far we are, in one transaction."""
    if backfill.next_at is None:
        return
    now = tx.now()
    wanted = _dated(schedule, backfill.next_at, backfill.to_at, now)
    part = list(islice(wanted, FED_AT_ONCE))
    following = next(wanted, None)
    into = Slice(SliceKind.BACKLOG, floor_minute(now))
    tx.slices.open({into}, now)
    # First, so that none is counted twice: what is fed below is neither delivered nor skipped.
    again = (
        tx.backfills.feed_again(schedule, part, into, now, backfill.id) if backfill.forced else 0
    )
    fed = tx.backfills.feed(schedule, part, into, now, backfill.id)
    next_at = None if following is None else following[0]
    tx.backfills.advance(backfill.id, next_at, len(part) - fed - again)


def _range(schedule: Schedule, order: BackfillOrder, now: datetime) -> Sequence[Dated]:
    if order.to_at < order.from_at:
        raise InvalidInput("to", f"{order.to_at.isoformat()} is before from")
    if order.from_at > now:
        raise InvalidInput("from", "lies ahead; a backfill is of the past")
    found = list(islice(_dated(schedule, order.from_at, order.to_at, now), MOST_INSTANTS + 1))
    if len(found) > MOST_INSTANTS:
        raise Rejected(
            f"More than {MOST_INSTANTS:,} occurrences lie in that range (the last that fits is "
            f"{found[MOST_INSTANTS - 1][0].isoformat()}); ask for a part of it at a time."
        )
    return found


def _dated(
    schedule: Schedule, from_at: datetime, to_at: datetime, now: datetime
) -> Iterator[Dated]:
    """(nominal, due) of the occurrences in [from_at, to_at] that are due already.

    The window says when the *clock* fires; a person may ask for what lies before or behind it.
    """
    cadence = _without_window(schedule.cadence)
    for nominal in occurrences(cadence, from_at - INSTANT, to_at):
        due = due_at(cadence, schedule.id, nominal)
        if due <= now:
            yield nominal, due


def _without_window(cadence: Cadence) -> Cadence:
    return replace(cadence, start_at=None, end_at=None)


def _noted(
    schedule: Schedule, order: BackfillOrder, dated: Sequence[Dated], now: datetime
) -> Backfill:
    return Backfill(
        id=str(uuid4()),
        schedule_id=schedule.id,
        from_at=order.from_at,
        to_at=order.to_at,
        overlap_policy="allow_all" if order.allow_all else "one_by_one",
        forced=order.force,
        instants_count=len(dated),
        left_count=0,
        next_at=dated[0][0] if dated else None,
        created_at=now,
        states={},
    )


def _require(tx: Transaction, backfill_id: str) -> Backfill:
    found = tx.backfills.get(backfill_id)
    if found is None:
        raise NotFound(f"Backfill '{backfill_id}' does not exist.")
    return found


# --- hours that the clock missed ------------------------------------------------------------------


def missed_hours(store: Store, after_gap: int) -> tuple[Sequence[str], int]:
    """Keys of the hours that gaps newer than that one touch, and the id of the newest gap seen.

    Of one gap the newest 168 hours: a week of an outage can be made up hour by hour.
    """
    gaps = store.run(lambda tx: tx.backfills.missed_since(after_gap, GAPS_PER_TICK))
    keys = {
        Slice(SliceKind.MISSED, hour).key
        for _, from_at, to_at in gaps
        for hour in _hours(from_at, to_at)
    }
    return sorted(keys), gaps[-1][0] if gaps else after_gap


def _hours(from_at: datetime, to_at: datetime) -> Iterator[datetime]:
    last = floor_hour(to_at - INSTANT)
    hour = max(floor_hour(from_at), last - (HOURS_PER_GAP - 1) * HOUR)
    while hour <= last:
        yield hour
        hour += HOUR


def expand(store: Store, missed: Slice) -> None:
    """Give each occurrence that gaps cover in that hour its fire, and take up the fires that were
    planned for it and went missed; in transactions of bounded size.

    Repeatable: an occurrence has one fire, and one that is under way or delivered is left alone.
    """
    _expand_gaps(store, missed)
    _take_up_missed(store, missed)


def _take_up_missed(store: Store, missed: Slice) -> None:
    position: tuple[str, datetime] | None = None
    while fires := store.run(partial(_missed_in, missed=missed, after=position)):
        for schedule_id, of_one in groupby(fires, attrgetter("schedule_id")):
            wanted = partial(_as_planned, fires=list(of_one))
            store.run(partial(_feed_hour, schedule_id=schedule_id, missed=missed, wanted=wanted))
        position = (fires[-1].schedule_id, fires[-1].nominal_at)


def _as_planned(
    _schedule: Schedule, _now: datetime, fires: Sequence[MissedFire]
) -> Sequence[Dated]:
    return [(fire.nominal_at, fire.due_at) for fire in fires]


def _missed_in(
    tx: Transaction, missed: Slice, after: tuple[str, datetime] | None
) -> Sequence[MissedFire]:
    return tx.backfills.missed_in(missed.starts_at, missed.ends_at, after, MISSED_AT_ONCE)


def _expand_gaps(store: Store, missed: Slice) -> None:
    position: tuple[str, datetime] | None = None
    while gaps := store.run(partial(_gaps_in, missed=missed, after=position)):
        for gap in gaps:
            covered = partial(_covered, gap=gap, missed=missed)
            store.run(
                partial(_feed_hour, schedule_id=gap.schedule_id, missed=missed, wanted=covered)
            )
        position = (gaps[-1].schedule_id, gaps[-1].from_at)


def _gaps_in(tx: Transaction, missed: Slice, after: tuple[str, datetime] | None) -> Sequence[GapOf]:
    return tx.backfills.gaps_in(missed.starts_at, missed.ends_at, after, GAPS_AT_ONCE)


def _feed_hour(
    tx: Transaction,
    schedule_id: str,
    missed: Slice,
    wanted: Callable[[Schedule, datetime], Sequence[Dated]],
) -> None:
    tx.clocks.lock(schedule_id)
    schedule, now = tx.schedules.find(schedule_id), tx.now()
    if schedule is not None and (dated := wanted(schedule, now)):
        tx.slices.open({missed}, now)
        tx.backfills.feed(schedule, dated, missed, now, None)


def _covered(schedule: Schedule, now: datetime, gap: GapOf, missed: Slice) -> Sequence[Dated]:
    from_at, to_at = max(gap.from_at, missed.starts_at), min(gap.to_at, missed.ends_at)
    try:
        found = occurrences(schedule.cadence, from_at - INSTANT, to_at - INSTANT)
        dated = [(nominal, due_at(schedule.cadence, schedule.id, nominal)) for nominal in found]
    except InvalidCadence:
        return ()  # One schedule's cadence that can no longer be read stops nobody else's hour.
    return [(nominal, due) for nominal, due in dated if due <= now]
