"""The audit of a schedule: every occurrence of a stretch with its end, and every hole."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from schedules_pipeline.domain.cadence import MAX_JITTER_SECONDS
from schedules_pipeline.domain.coverage import (
    CLOCK_BEHIND,
    MOST,
    Coverage,
    Evidence,
    Span,
    cover_span,
    too_many,
)
from schedules_pipeline.errors import NotFound
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import Fire

DEFAULT_SPAN = timedelta(days=1)
SWITCHED_OFF = "switched_off"
LONGEST_JITTER = timedelta(seconds=MAX_JITTER_SECONDS)


class Audits:
    """What became of every occurrence."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_schedule(
        self, agent_id: str, schedule_id: str, since: datetime | None, until: datetime | None
    ) -> Coverage:
        """From `since` (a day before `until`) to `until` (now), of deleted schedules too.

        Errors: NotFound; InvalidInput (in the wrong order, or more than 10,000 occurrences).
        """

        def read(tx: Transaction) -> tuple[Evidence, Span]:
            if not tx.audit.exists(agent_id, schedule_id):
                raise NotFound(
                    f"Run schedule '{schedule_id}' for agent '{agent_id}' does not exist."
                )
            now = tx.now()
            to = until or now
            span = Span(since=since or to - DEFAULT_SPAN, until=to)
            return _evidence(tx, agent_id, schedule_id, now, span), span

        # Occurrences are searched with no transaction open.
        return cover_span(*self._store.run(read))

    def overdue(self, *, limit: int, only: Collection[str] | None = None) -> Sequence[Fire]:
        """Every fire past due and not final, earliest first: under way, held, or in trouble.

        `only`: of no schedules but these (by id).
        """
        return self._store.run(lambda tx: tx.audit.overdue(limit=limit, only=only))

    def count_overdue(self) -> int:
        """How many there are; counted up to 1,000."""
        return len(self.overdue(limit=1_000))


def report(coverage: Coverage, overdue: int) -> str:
    """The audit as people read it in a terminal; `overdue` is about all schedules."""
    lines = [
        f"{each.nominal_at:%Y-%m-%d %H:%M:%SZ}  {'/'.join(filter(None, (each.state, each.reason)))}"
        for each in coverage.occurrences
    ]
    for word, stretches in (("paused", coverage.paused), ("exhausted", coverage.exhausted)):
        lines += [f"{word} from {s.since.isoformat()} to {s.until.isoformat()}" for s in stretches]
    lines += [f"HOLE at {nominal.isoformat()}: nothing explains it" for nominal in coverage.holes]
    lines.append(
        f"{len(coverage.occurrences)} occurrences accounted for, {len(coverage.holes)} holes; "
        f"of all schedules, {overdue} fires are past due and not final."
    )
    return "\n".join(lines)


def _evidence(
    tx: Transaction, agent_id: str, schedule_id: str, now: datetime, span: Span
) -> Evidence:
    """Read in this order: what the clock passes meanwhile has its row by the time rows are read."""
    since, until = span.since, span.until
    changes = tx.audit.changes(
        schedule_id, since=since, until=until + LONGEST_JITTER, limit=MOST + 1
    )
    clock = tx.audit.clock(schedule_id)
    stopped = tx.switches.stopped()
    skips = tx.schedules.skips(schedule_id)
    fires = tx.audit.fires(schedule_id, since=since, until=until, limit=MOST + 1)
    gaps = tx.audit.gaps(schedule_id, since=since, until=until, limit=MOST + 1)
    if max(len(changes), len(fires), len(gaps)) > MOST:
        raise too_many()
    return Evidence(
        schedule_id=schedule_id,
        now=now,
        changes=changes,
        clock=clock,
        fires=fires,
        gaps=gaps,
        skips=skips,
        held_because=CLOCK_BEHIND if stopped.since(agent_id) is None else SWITCHED_OFF,
    )
