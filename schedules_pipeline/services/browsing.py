"""Schedules across agents: listed, and paused or resumed by filter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from schedules_pipeline.domain.schedule import JsonObject, Schedule
from schedules_pipeline.errors import Busy, NotFound
from schedules_pipeline.services.cursors import instant, read_cursor, unreadable, write_cursor
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.live import ScheduleView, Seen, look, views
from schedules_pipeline.services.managing import LIVE_ROWS
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import ScheduleFilter, ScheduleOrder

BULK_AT_ONCE = 1_000
"""So many schedules does one request change at most: a few seconds' work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePage:
    """Schedules in the order asked for, and where the next page begins."""

    schedules: Sequence[ScheduleView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """Ids of schedules: `busy` ones were held by others for 3 s; `more` fit the filter still."""

    changed: Sequence[str]
    busy: Sequence[str]
    more: bool


class Browser:
    """What is done with schedules, whoever's they are."""

    def __init__(self, store: Store, editor: Editor) -> None:
        self._store = store
        self._editor = editor

    def list(
        self,
        wanted: ScheduleFilter,
        order: ScheduleOrder,
        *,
        limit: int,
        cursor: str | None,
        live: bool,
    ) -> SchedulePage:
        """Active ones; with `live`, the first 200 carry live data. Errors: InvalidInput."""
        after = None if cursor is None else _place(cursor, order)

        def read(tx: Transaction) -> tuple[Seen, str | None]:
            found = tx.ledger.schedules(wanted, order, limit=limit + 1, after=after)
            shown = found[:limit]
            more = _cursor(shown[-1], order) if found[limit:] else None
            methods = tx.ledger.input_methods([schedule.agent_id for schedule in shown])
            return look(tx, methods, shown, live=LIVE_ROWS if live else 0), more

        seen, more = self._store.run(read)
        return SchedulePage(schedules=views(seen), next_cursor=more)

    def pause(
        self, wanted: ScheduleFilter, actor: JsonObject, note: str | None, *, dry_run: bool
    ) -> BulkResult:
        """Pause those that fit and are active, at most 1,000."""

        def pause(schedule: Schedule) -> bool:
            return self._editor.pause_active(schedule.agent_id, schedule.id, actor, note)

        return self._each(replace(wanted, paused=False), pause, dry_run=dry_run)

    def resume(
        self, wanted: ScheduleFilter, actor: JsonObject, note: str | None, *, dry_run: bool
    ) -> BulkResult:
        """Resume those that fit and are paused, at most 1,000."""

        def resume(schedule: Schedule) -> bool:
            return self._editor.resume_paused(schedule.agent_id, schedule.id, actor, note)

        return self._each(replace(wanted, paused=True), resume, dry_run=dry_run)

    def _each(
        self, wanted: ScheduleFilter, act: Callable[[Schedule], bool], *, dry_run: bool
    ) -> BulkResult:
        """One short transaction each: no clock waits for more than its own schedule's.

        The filter is read before; an edit in between may have made a schedule fit no longer, or
        only now. What it is asked to become is decided under its own mutex.
        """
        found = self._store.run(
            lambda tx: tx.ledger.schedules(
                wanted, ScheduleOrder.CREATED, limit=BULK_AT_ONCE + 1, after=None
            )
        )
        these, changed, busy = found[:BULK_AT_ONCE], [], []
        for schedule in these:
            try:
                if dry_run or act(schedule):
                    changed.append(schedule.id)
            except NotFound:
                continue  # Deleted since it was found.
            except Busy:
                busy.append(schedule.id)
        return BulkResult(changed=changed, busy=busy, more=len(found) > BULK_AT_ONCE)


def _cursor(schedule: Schedule, order: ScheduleOrder) -> str:
    value = getattr(schedule, order.removeprefix("-"))
    return write_cursor(order, value if isinstance(value, str) else value.isoformat(), schedule.id)


def _place(cursor: str, order: ScheduleOrder) -> tuple[str | datetime, str]:
    of, value, schedule_id = read_cursor(cursor, 3)
    if of != order:
        raise unreadable()
    by_name = order in (ScheduleOrder.NAME, ScheduleOrder.NAME_DOWN)
    return value if by_name else instant(value), schedule_id
