"""The tick: one evaluation of the clock. Everything in it can be cut off and done again."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

from schedules_pipeline.domain.emission import Emission, choose, next_look
from schedules_pipeline.domain.slices import standby_slices
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.errors import AnotherTick
from schedules_pipeline.services.backfilling import feed_backfills, missed_hours
from schedules_pipeline.services.planning import Planner, PlanningRules
from schedules_pipeline.services.releasing import OpenTasks, release_waiting
from schedules_pipeline.services.rezoning import bring_up_to_date
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import EndedRun, Heartbeat

TICK_SECONDS = 15.0
LONGEST_PAUSE = timedelta(seconds=25)
SHORTEST_SERIES = timedelta(seconds=15)
DEAD_AFTER = timedelta(seconds=30)
BEAT_IS_OVERDUE = timedelta(seconds=12)
SILENT_AFTER = timedelta(minutes=2)
SILENT_SERIES = timedelta(seconds=60)
ASK_BACK = timedelta(seconds=60)
SETTLED_PER_TICK = 20

EndedRuns = Callable[[datetime], Iterable[EndedRun]]
"""Dagster's word: which runs of the job ended since an instant."""


class Clock:
    """Turns due rows into fires, and slices that owe something into Dagster runs."""

    def __init__(
        self,
        store: Store,
        rules: PlanningRules,
        open_tasks: OpenTasks,
        *,
        standby: bool = False,
    ) -> None:
        """`open_tasks`: asked for fires that wait until a task is final. `standby`: keep a run up
        for what is due at once."""
        self._store = store
        self._standby = standby
        self._open_tasks = open_tasks
        self._rules = rules
        self._planner = Planner(store, rules)

    def tick(self, ended_runs: EndedRuns) -> Sequence[Emission]:
        """One tick; returns the Dagster runs to start.

        Errors: Unavailable and its leaves; what was committed before stands, and the next tick
        goes on from there.
        """
        deadline = time.monotonic() + TICK_SECONDS
        self._finish_ended(ended_runs)
        self._declare_dead()
        release_waiting(self._store, self._open_tasks)
        feed_backfills(self._store)
        bring_up_to_date(self._store, TZDATA_VERSION)
        self._planner.plan(lambda: time.monotonic() > deadline)
        self._settle()
        return self._store.run(self._emit)

    def seconds_until_next(self) -> float:
        """How long until a tick has something to do that nobody else brings about."""

        def look(tx: Transaction) -> float:
            now, horizon = tx.now(), self._rules.horizon
            at = next_look(now, horizon, tx.slices.next_emission(now, horizon))
            return (at - now).total_seconds()

        return self._store.run(look)

    def missed_hours(self, after_gap: int) -> tuple[Sequence[str], int]:
        """Keys of hours that the clock missed, and up to which gap they are known."""
        return missed_hours(self._store, after_gap)

    def unsettled_keys(self) -> Collection[str]:
        """The slices that are not over."""
        return self._store.run(lambda tx: tx.slices.unsettled())

    def silent_since(self) -> datetime | None:
        """A run without a heartbeat since then shows no sign of life; None: nobody can tell now.

        As with death, a run must have had the database for a while to show that it lives.
        """

        def look(tx: Transaction) -> datetime | None:
            now, beat = tx.now(), tx.heartbeat.read()
            if beat is None or now - next_heartbeat(beat, now).series_since < SILENT_SERIES:
                return None
            return now - SILENT_AFTER

        return self._store.run(look)

    def silent(self, dagster_run_ids: Sequence[str], since: datetime) -> set[str]:
        """Those of the runs that had no heartbeat since then."""
        beating = self._store.run(lambda tx: tx.dispatches.beating(dagster_run_ids, since))
        return set(dagster_run_ids) - beating

    def _finish_ended(self, ended_runs: EndedRuns) -> None:
        """Believe Dagster's ends (never its STARTED)."""
        beat = self._store.run(lambda tx: tx.heartbeat.read())
        if beat is None:
            return
        ended = list(ended_runs(beat.ticked_at - ASK_BACK))
        if ended:
            self._store.run(lambda tx: _finish_ended(tx, ended))

    def _declare_dead(self) -> None:
        """Dispatches without a heartbeat for 30 s are dead, if *we* had the database all along.

        After an outage of the database everybody's heartbeat is old and nobody is dead: only a
        series of ticks without a break may say so. Taking over follows in later transactions.
        """
        self._store.run(_declare_dead)

    def _settle(self) -> None:
        """Settle slices whose run did not come to do it."""

        def settle(tx: Transaction) -> None:
            over = tx.slices.over_but_open(tx.now(), SETTLED_PER_TICK)
            if over:
                tx.slices.settle(over)

        self._store.run(settle)

    def _emit(self, tx: Transaction) -> Sequence[Emission]:
        """Choose the slices to hand to Dagster. Errors: AnotherTick, for the loser of two."""
        if not tx.try_to_be_the_only_tick():
            raise AnotherTick
        tx.switches.hold()
        now = tx.now()
        tx.heartbeat.write(next_heartbeat(tx.heartbeat.read(), now))
        if tx.switches.stopped().all_since is not None:
            return []
        horizon = self._rules.horizon
        if self._standby:
            tx.slices.provide(standby_slices(now, horizon), now)
        emissions = choose(tx.slices.owing(now, horizon, standby=self._standby), now)
        for emission in sorted(emissions, key=lambda e: e.slice_key):
            tx.slices.mark_emitted(emission.slice_key, emission.emit_after)
        return emissions


def next_heartbeat(last: Heartbeat | None, now: datetime) -> Heartbeat:
    """A tick more than 25 s after the one before begins a new series."""
    if last is None:
        return Heartbeat(ticked_at=now, tick_no=1, series_since=now)
    unbroken = timedelta(0) <= now - last.ticked_at <= LONGEST_PAUSE
    return Heartbeat(
        ticked_at=now,
        tick_no=last.tick_no + 1,
        series_since=last.series_since if unbroken else now,
    )


def may_declare_death(last: Heartbeat | None, now: datetime) -> bool:
    """Whether this tick stands at the end of an unbroken series of at least 15 s."""
    return last is not None and now - next_heartbeat(last, now).series_since >= SHORTEST_SERIES


def _declare_dead(tx: Transaction) -> None:
    now, last = tx.now(), tx.heartbeat.read()
    if last is not None and may_declare_death(last, now):
        # Between two ticks the database may have been away for almost 25 s. Whose beat was timely
        # when the last one had it may have had no chance to beat since.
        silent_since = min(now - DEAD_AFTER, last.ticked_at - BEAT_IS_OVERDUE)
        _hasten(tx, tx.dispatches.declare_dead(silent_since))


def _finish_ended(tx: Transaction, ended: Sequence[EndedRun]) -> None:
    """Act on each end once. A person's cancel stays a cancel: what its run owed is not made up."""
    finished = tx.dispatches.finish_ended(ended)
    cancelled = {
        finished[run.dagster_run_id]
        for run in ended
        if run.cancelled and run.dagster_run_id in finished
    }
    if cancelled:
        tx.fires.cancel_slices(cancelled)
    _hasten(tx, set(finished.values()))


def _hasten(tx: Transaction, slice_keys: set[str]) -> None:
    if slice_keys:
        tx.slices.hasten(slice_keys, tx.now())
