"""The ledger, page by page."""

import base64
import binascii
from datetime import datetime

from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services.managing import require_schedule
from schedules_pipeline.services.store_port import Fire, FirePage, Store, Transaction


class Ledger:
    """What became of a schedule's fires."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def fires(self, agent_id: str, schedule_id: str, *, limit: int, cursor: str | None) -> FirePage:
        """Newest nominal time first, planned ones included.

        A page begins behind the fire that the cursor names, so fires that come in between move
        nothing. Errors: NotFound, InvalidInput (the cursor).
        """
        after = None if cursor is None else read_cursor(cursor)
        return self._store.run(lambda tx: _page(tx, agent_id, schedule_id, limit, after))


def _page(
    tx: Transaction,
    agent_id: str,
    schedule_id: str,
    limit: int,
    after: tuple[datetime, str] | None,
) -> FirePage:
    schedule = require_schedule(tx, agent_id, schedule_id)
    # One more than asked for tells whether there is another page.
    fires = tx.schedules.fires(schedule.id, limit=limit + 1, after=after)
    shown = fires[:limit]
    return FirePage(fires=shown, next_cursor=write_cursor(shown[-1]) if fires[limit:] else None)


def write_cursor(fire: Fire) -> str:
    """The place behind this fire, as text that means nothing to anybody else."""
    place = f"{fire.nominal_at.isoformat()} {fire.id}"
    return base64.urlsafe_b64encode(place.encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """The inverse of `write_cursor`. Errors: InvalidInput."""
    try:
        place = base64.urlsafe_b64decode(cursor.encode("ascii")).decode()
        nominal, _, fire_id = place.partition(" ")
        nominal_at = datetime.fromisoformat(nominal)
    except (binascii.Error, ValueError):
        raise _unreadable() from None
    if nominal_at.utcoffset() is None or not 1999 <= nominal_at.year <= 2102 or "\0" in fire_id:
        raise _unreadable()
    return nominal_at, fire_id


def _unreadable() -> InvalidInput:
    return InvalidInput("cursor", "is not a next_cursor of this API; leave it out to start anew")
