"""The ledger and the change history, page by page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from schedules_pipeline.errors import NotFound
from schedules_pipeline.services.cursors import instant, number, read_cursor, write_cursor
from schedules_pipeline.services.managing import require_schedule
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import Fire, FireFilter, FirePage, RecordedChange

StatusOfTask = Callable[[str], str | None]
"""Asks the agent platform what a task (by id) has come to; None when it knows no such task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePage:
    """Changes, newest first, and where the next page begins."""

    changes: Sequence[RecordedChange]
    next_cursor: str | None


class Ledger:
    """What became of fires, and who changed schedules."""

    def __init__(self, store: Store, status_of_task: StatusOfTask) -> None:
        self._store = store
        self._status_of_task = status_of_task

    def fires(
        self,
        agent_id: str,
        schedule_id: str,
        wanted: FireFilter,
        *,
        limit: int,
        cursor: str | None,
    ) -> FirePage:
        """A schedule's, newest nominal time first, planned ones included.

        Errors: NotFound, InvalidInput (the cursor).
        """
        after = None if cursor is None else _fire_place(cursor)
        whose = replace(wanted, schedule_id=schedule_id)

        def page(tx: Transaction) -> FirePage:
            require_schedule(tx, agent_id, schedule_id)
            return _page(tx, whose, limit, after)

        return self._store.run(page)

    def all_fires(self, wanted: FireFilter, *, limit: int, cursor: str | None) -> FirePage:
        """Of all schedules, deleted ones too; else as `fires`. Errors: InvalidInput."""
        after = None if cursor is None else _fire_place(cursor)
        return self._store.run(lambda tx: _page(tx, wanted, limit, after))

    def fire(self, fire_id: str) -> tuple[Fire, str | None]:
        """One fire, and what the platform says of its task now. Errors: NotFound."""
        fire = self._store.run(lambda tx: tx.fires.get(fire_id))
        if fire is None:
            raise NotFound(f"Fire '{fire_id}' does not exist.")
        # Outside any transaction: the platform may be another server.
        return fire, None if fire.task_id is None else self._status_of_task(fire.task_id)

    def history(
        self, agent_id: str, schedule_id: str, *, limit: int, cursor: str | None
    ) -> ChangePage:
        """Who changed the schedule, newest first; also of one that is deleted.

        Errors: NotFound, InvalidInput (the cursor).
        """
        before = None if cursor is None else number(read_cursor(cursor, 1)[0])

        def page(tx: Transaction) -> ChangePage:
            found = tx.ledger.changes(agent_id, schedule_id, limit=limit + 1, before=before)
            if found is None:
                raise NotFound(
                    f"Run schedule '{schedule_id}' for agent '{agent_id}' does not exist."
                )
            shown = found[:limit]
            more = write_cursor(str(shown[-1].number)) if found[limit:] else None
            return ChangePage(changes=shown, next_cursor=more)

        return self._store.run(page)


def _page(
    tx: Transaction, wanted: FireFilter, limit: int, after: tuple[datetime, str] | None
) -> FirePage:
    # One more than asked for tells whether there is another page.
    found = tx.ledger.fires(wanted, limit=limit + 1, after=after)
    shown = found.fires[:limit]
    if found.fires[limit:]:
        place = (shown[-1].nominal_at, shown[-1].id)
    elif found.seen_until is not None:
        place = found.seen_until
    else:
        return FirePage(fires=shown, next_cursor=None)
    return FirePage(fires=shown, next_cursor=write_cursor(place[0].isoformat(), place[1]))


def _fire_place(cursor: str) -> tuple[datetime, str]:
    nominal, fire_id = read_cursor(cursor, 2)
    return instant(nominal), fire_id
