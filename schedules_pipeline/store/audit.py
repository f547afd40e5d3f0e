"""What the audit reads: the change history, the clock, fires and gaps of a stretch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, DstFold, DstGap
from schedules_pipeline.domain.coverage import Change, ClockStanding, LedgerFire
from schedules_pipeline.domain.fire import FireReason, FireState, GapReason
from schedules_pipeline.domain.planning import Gap
from schedules_pipeline.services.stored import Fire
from schedules_pipeline.store.rows import FIRE_COLUMNS, fire_from


class PostgresAudit:
    """See `services.store_port.AuditRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def exists(self, agent_id: str, schedule_id: str) -> bool:
        """Deleted ones too."""
        statement = text(
            "select 1 from agent_run_schedules where id = :id and agent_id = :agent_id"
        )
        values = {"id": schedule_id, "agent_id": agent_id}
        return self._connection.execute(statement, values).first() is not None

    def changes(
        self, schedule_id: str, *, since: datetime, until: datetime, limit: int
    ) -> Sequence[Change]:
        """The change in force at `since` and those up to `until`, oldest first; and the one behind
        them, which says when the last of them ended."""
        rows = self._connection.execute(
            text("""
                with of_it as (
                    select id, at, operation, after, exhausted_since from schedule_changes
                    where schedule_id = :id)
                select at, operation, after, exhausted_since from of_it
                where id >= coalesce((select max(id) from of_it where at <= :since), 0)
                  and id <= coalesce((select min(id) from of_it where at > :until),
                                     9223372036854775807)
                order by id limit :most
            """),
            {"id": schedule_id, "since": since, "until": until, "most": limit},
        )
        return [
            Change(
                at=row.at,
                cadence=cadence_from_history(row.after),
                paused=row.after["paused"],
                deleted=row.operation == "delete",
                exhausted_since=row.exhausted_since,
            )
            for row in rows
        ]

    def clock(self, schedule_id: str) -> ClockStanding:
        """Of any schedule."""
        row = self._connection.execute(
            text("""
                select c.next_nominal_at,
                       case when c.fire_count >= s.max_fires then c.last_fire_at end
                           as exhausted_since
                from schedule_clock c join agent_run_schedules s on s.id = c.schedule_id
                where c.schedule_id = :id
            """),
            {"id": schedule_id},
        ).one()
        return ClockStanding(**row._mapping)

    def fires(
        self, schedule_id: str, *, since: datetime, until: datetime, limit: int
    ) -> Sequence[LedgerFire]:
        """Of occurrences, not those that a person made beside them."""
        rows = self._connection.execute(
            text("""
                select id, nominal_at, state, reason from fires
                where schedule_id = :id and nominal_at between :since and :until
                  and trigger_type <> 'manual' and not forced
                order by nominal_at limit :most
            """),
            {"id": schedule_id, "since": since, "until": until, "most": limit},
        )
        return [
            LedgerFire(
                id=row.id,
                nominal_at=row.nominal_at,
                state=FireState(row.state),
                reason=None if row.reason is None else FireReason(row.reason),
            )
            for row in rows
        ]

    def gaps(
        self, schedule_id: str, *, since: datetime, until: datetime, limit: int
    ) -> Sequence[Gap]:
        """Those that touch the stretch, in order."""
        rows = self._connection.execute(
            text("""
                select from_at, to_at, reason from gaps
                where schedule_id = :id and from_at <= :until and to_at > :since
                order by from_at limit :most
            """),
            {"id": schedule_id, "since": since, "until": until, "most": limit},
        )
        return [
            Gap(from_at=row.from_at, to_at=row.to_at, reason=GapReason(row.reason)) for row in rows
        ]

    def overdue(self, *, limit: int, only: Collection[str] | None = None) -> Sequence[Fire]:
        """Past due and not final. Open fires are in unsettled slices only."""
        these = "" if only is None else "and f.schedule_id = any(:only)"
        rows = self._connection.execute(
            text(f"""
                select {FIRE_COLUMNS} from fires f
                where f.slice_key = any(array(
                        select slice_key from slices where settled_at is null))
                  and f.finished_at is null and f.due_at <= statement_timestamp()
                  {these}
                order by f.due_at, f.id limit :most
            """),  # noqa: S608 - a constant of ours
            {"most": limit, "only": sorted(only or ())},
        )
        return [fire_from(row) for row in rows]


_ENUMS: Mapping[str, Any] = {
    "cron_day_match": CronDayMatch,
    "dst_gap": DstGap,
    "dst_fold": DstFold,
    "exclude_cron": tuple,
}
_INSTANTS = ("fire_at", "start_at", "end_at")


def cadence_from_history(after: Mapping[str, Any]) -> Cadence:
    """The cadence of a definition as the change history keeps it."""
    known = {f.name: after[f.name] for f in fields(Cadence) if f.name in after}
    for name, kind in _ENUMS.items():
        if name in known:
            known[name] = kind(known[name])
    for name in _INSTANTS:
        if known.get(name) is not None:
            known[name] = datetime.fromisoformat(known[name])
    return Cadence(**known)
