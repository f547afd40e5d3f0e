"""Planning: every occurrence due before the frontier gets its row, exactly once.

A fire and the clock that made it advance in one transaction, and the unique key stands behind it:
two ticks, or a tick and a writer, may plan at the same time.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from schedules_pipeline.domain.fire import GapReason
from schedules_pipeline.domain.occurrences import due_at, occurrences
from schedules_pipeline.domain.planning import (
    ClockReading,
    SchedulePlan,
    gap_between,
    plan_schedule,
)
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.domain.slices import Slice, floor_minute, planning_frontier
from schedules_pipeline.errors import InvalidCadence
from schedules_pipeline.services.standby import LIVE_SYNC_SLICES, hand_to_standby
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import FireMove

log = logging.getLogger(__name__)

SCHEDULES_PER_TRANSACTION = 500
FIRES_PER_TRANSACTION = 2_000
FIRES_PER_TICK = 20_000
SOON = timedelta(seconds=10)
"""What is due sooner cannot wait for the clock to look by itself, and for a run to come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningRules:
    """How far ahead to plan, and how late a fire may be before it is made up."""

    horizon: timedelta
    grace: timedelta

    @property
    def soon(self) -> timedelta:
        """What is due within so long is sooner than the clock plans. Of a short horizon a part."""
        return min(SOON, self.horizon / 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a tick planned. `complete` is false when it left something to the next."""

    fires: int
    complete: bool


class Planner:
    """Plans what is due, schedules that are on time first."""

    def __init__(self, store: Store, rules: PlanningRules) -> None:
        self._store = store
        self._rules = rules

    def plan(self, out_of_time: Callable[[], bool]) -> Planned:
        """Plan until nothing is due before the frontier, or the tick's bounds are reached."""
        now = self._store.run(lambda tx: tx.now())
        fires = 0
        for readings in self._due(now):
            if out_of_time() or fires >= FIRES_PER_TICK:
                return Planned(fires=fires, complete=False)
            fires += self._plan(readings, now)
        return Planned(fires=fires, complete=True)

    def _due(self, now: datetime) -> Iterator[Sequence[ClockReading]]:
        """Batches of due clocks: those on time, then those that are behind.

        The position moves on behind each batch, so a schedule whose row another holds is passed
        over, not waited for.
        """
        frontier = planning_frontier(now, self._rules.horizon)
        late_before = now - self._rules.grace
        for since, until in ((late_before, frontier), (None, late_before)):
            position: tuple[datetime, str] | None = None
            while batch := self._read(since, until, position):
                yield batch
                position = (batch[-1].next_due_at, batch[-1].schedule.id)

    def _read(
        self, since: datetime | None, until: datetime, position: tuple[datetime, str] | None
    ) -> Sequence[ClockReading]:
        def read(tx: Transaction) -> Sequence[ClockReading]:
            found = tx.clocks.read_due(
                since=since, until=until, after=position, limit=SCHEDULES_PER_TRANSACTION
            )
            crowd = tx.slices.crowded(LIVE_SYNC_SLICES) if found else None
            return [replace(each, crowded=crowd) for each in found] if crowd else found

        return self._store.run(read)

    def _plan(self, readings: Sequence[ClockReading], now: datetime) -> int:
        """Enumerate without locks, then write in transactions of a bounded number of fires."""
        written = 0
        for plans in _bounded(self._enumerate(readings, now)):
            write = partial(write_plans, plans=plans, now=now, soon=self._rules.soon, quietly=True)
            written += self._store.run(write)
        return written

    def _enumerate(self, readings: Sequence[ClockReading], now: datetime) -> Iterator[SchedulePlan]:
        for reading in readings:
            try:
                yield _plan_one(reading, now, self._rules)
            except InvalidCadence as error:
                # A row edited by hand, or a zone that newer rules dropped. The others go on; this
                # one's clock stays where it is, so nothing of it is lost once it is mended.
                log.error("schedule %s cannot be planned: %s", reading.schedule.id, error)


def plan_at_once(tx: Transaction, schedule_id: str, rules: PlanningRules) -> None:
    """Plan what this schedule has due before the frontier, in the writer's own transaction.

    The writer holds the clock's row; a tick would come too late for what is due in seconds.
    """
    reading = tx.clocks.read(schedule_id)
    if reading is None:
        return
    reading = replace(reading, crowded=tx.slices.crowded(LIVE_SYNC_SLICES))
    now = tx.now()
    if reading.next_due_at < planning_frontier(now, rules.horizon):
        write_plans(tx, [_plan_one(reading, now, rules)], now, rules.soon)


def cover(tx: Transaction, schedule_id: str, now: datetime, reason: GapReason) -> None:
    """A clock that is behind has occurrences that nobody planned: one gap says why.

    A paused schedule's clock stands nowhere: its change history explains that stretch.
    """
    stood_at = tx.clocks.standing(schedule_id).next_nominal_at
    gap = None if stood_at is None else gap_between(stood_at, now, reason)
    if gap is not None:
        tx.fires.insert_gap(schedule_id, gap)


def realign_ahead(tx: Transaction, schedule: Schedule, now: datetime) -> None:
    """Bring planned fires that are still ahead into line with an edited cadence.

    What is no longer an occurrence is cancelled; what is, but at another due time (jitter), moves
    to that time's slice. What is due already or claimed is finished as it was begun.
    """
    planned = tx.fires.planned_ahead(schedule.id, now)
    if not planned:
        return
    last = max(fire.nominal_at for fire in planned)
    earliest = now - timedelta(seconds=schedule.cadence.jitter_seconds)
    wanted = {
        nominal: due_at(schedule.cadence, schedule.id, nominal)
        for nominal in occurrences(schedule.cadence, earliest, last)
    }
    tx.fires.cancel([f.id for f in planned if wanted.get(f.nominal_at, now) <= now])
    moved = [
        (fire, wanted[fire.nominal_at])
        for fire in planned
        if fire.nominal_at in wanted and now < wanted[fire.nominal_at] != fire.due_at
    ]
    moves = [
        FireMove(fire_id=f.id, due_at=due, slice=Slice(f.slice_kind, floor_minute(due)))
        for f, due in moved
    ]
    if moves:
        tx.slices.open({move.slice for move in moves}, now)
        tx.fires.move(moves)


def write_plans(
    tx: Transaction,
    plans: Sequence[SchedulePlan],
    now: datetime,
    soon: timedelta = SOON,
    *,
    quietly: bool = False,
) -> int:
    """Lock, drop what changed since it was read, insert fires and gaps, advance the clocks.

    Who waits for work is told of what is due before `now + soon`; `quietly`: only the standby is,
    for these are a tick's own plans, and it hands the rest over itself.
    """
    tx.switches.hold()
    standing = tx.clocks.lock_unchanged([plan.reading for plan in plans])
    kept: Sequence[SchedulePlan] = [p for p in plans if p.schedule_id in standing]
    if not kept:
        return 0
    kept, standby = hand_to_standby(tx, kept, now, soon)
    slices = {fire.slice for plan in kept for fire in plan.fires}
    if slices:
        tx.slices.open(slices, now, quietly=True)
        near = {f.slice.key for plan in kept for f in plan.fires if f.due_at < now + soon}
        told = ({standby.key} if standby else set()) if quietly else near
        if told:
            tx.slices.tell(told)
    inserted = tx.fires.plan(kept)
    tx.clocks.advance(kept)
    return inserted


def _plan_one(reading: ClockReading, now: datetime, rules: PlanningRules) -> SchedulePlan:
    return plan_schedule(
        reading,
        now=now,
        frontier=planning_frontier(now, rules.horizon),
        grace=rules.grace,
        limit=FIRES_PER_TRANSACTION,
    )


def _bounded(plans: Iterator[SchedulePlan]) -> Iterator[list[SchedulePlan]]:
    """Group plans so that a transaction inserts about `FIRES_PER_TRANSACTION` fires at most."""
    group: list[SchedulePlan] = []
    fires = 0
    for plan in plans:
        if group and fires + len(plan.fires) > FIRES_PER_TRANSACTION:
            yield group
            group, fires = [], 0
        group.append(plan)
        fires += len(plan.fires)
    if group:
        yield group
