"""What is read of fires, changes and definitions across schedules, page by page."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from schedules_pipeline.domain.schedule import AcpType, Schedule
from schedules_pipeline.services.stored import (
    FireFilter,
    FiresFound,
    RecordedChange,
    ScheduleFilter,
    ScheduleOrder,
)
from schedules_pipeline.store.rows import FIRE_COLUMNS, SCHEDULE_COLUMNS, fire_from, schedule_from

# A rare state may be anywhere among millions of fires, and no index may name a column that a
# fire's life updates. So a page looks at so many rows and then says where to go on.
SCANNED_AT_MOST = 10_000

FIRES = """
    with scanned as materialized (
        select f.id, f.nominal_at, f.state, f.reason, f.trigger_type from fires f
        where {place}
        order by f.nominal_at desc, f.id limit :scan
    ), fitting as (
        select id from scanned
        where (cast(:states as text[]) is null or state = any(:states))
          and (cast(:reasons as text[]) is null or reason = any(:reasons))
          and (cast(:triggers as text[]) is null or trigger_type = any(:triggers))
        order by nominal_at desc, id limit :limit
    ), last as (
        select nominal_at as last_nominal_at, id as last_id from scanned
        where (select count(*) from scanned) = :scan
        order by nominal_at, id desc limit 1
    )
    select {columns}, last_nominal_at, last_id
    from (select 1) as always
    left join last on true
    left join (fitting join fires f on f.id = fitting.id) on true
    order by f.nominal_at desc, f.id
"""

CHANGES = text("""
    select c.id as number, c.version, c.operation, c.actor, c.at, c.reason, c.note,
           c.tzdata_version, c.before, c.after
    from agent_run_schedules s
    left join schedule_changes c on c.schedule_id = s.id
        and (cast(:before as bigint) is null or c.id < :before)
    where s.id = :id and s.agent_id = :agent_id
    order by c.id desc limit :limit
""")

# Planning runs ahead of time: the next fire may be in the ledger already.
NEXT_FIRE_BEFORE = """
    not s.paused and (
        exists (select from schedule_clock c
                where c.schedule_id = s.id and c.next_due_at < :next_fire_before)
        or exists (select from fires f
                   where f.schedule_id = s.id and f.state = 'planned'
                     and f.nominal_at > statement_timestamp()
                         - make_interval(secs => s.jitter_seconds)
                     and f.due_at > statement_timestamp() and f.due_at < :next_fire_before))
"""


class PostgresLedger:
    """See `services.store_port.LedgerRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fires(
        self, wanted: FireFilter, *, limit: int, after: tuple[datetime, str] | None
    ) -> FiresFound:
        """Newest nominal time first; those behind `after`. Looks at 10,000 rows at most."""
        filtered = wanted.states or wanted.reasons or wanted.trigger_types
        nominal, fire_id = after or (None, None)
        rows = self._connection.execute(
            text(FIRES.format(place=_place(wanted, after), columns=FIRE_COLUMNS)),
            {
                "agent_id": wanted.agent_id,
                "schedule_id": wanted.schedule_id,
                "only": sorted(wanted.only or ()),
                "from_at": wanted.from_at,
                "to_at": wanted.to_at,
                "nominal": nominal,
                "fire_id": fire_id,
                "states": _texts(wanted.states),
                "reasons": _texts(wanted.reasons),
                "triggers": _texts(wanted.trigger_types),
                "limit": limit,
                "scan": SCANNED_AT_MOST if filtered else limit,
            },
        ).all()
        fires = [fire_from(row) for row in rows if row.fire_id is not None]
        last = rows[0].last_id and (rows[0].last_nominal_at, rows[0].last_id)
        return FiresFound(fires=fires, seen_until=last)

    def changes(
        self, agent_id: str, schedule_id: str, *, limit: int, before: int | None
    ) -> Sequence[RecordedChange] | None:
        """Newest first; those numbered below `before`. Deleted schedules' too; None: no such."""
        rows = self._connection.execute(
            CHANGES, {"agent_id": agent_id, "id": schedule_id, "limit": limit, "before": before}
        ).all()
        if not rows:
            return None
        return [RecordedChange(**row._mapping) for row in rows if row.number is not None]

    def schedules(
        self,
        wanted: ScheduleFilter,
        order: ScheduleOrder,
        *,
        limit: int,
        after: tuple[str | datetime, str] | None,
    ) -> Sequence[Schedule]:
        """Active ones, in that order; those behind `after` (value that is sorted by, id)."""
        column, down = order.removeprefix("-"), order.startswith("-")
        way, behind = ("desc", "<") if down else ("", ">")
        conditions = _conditions(wanted)
        if after is not None:
            conditions.append(f"(s.{column}, s.id) {behind} (:value, :id)")
        value, schedule_id = after or (None, None)
        rows = self._connection.execute(
            text(f"""
                select {SCHEDULE_COLUMNS} from agent_run_schedules s
                where {" and ".join(conditions)}
                order by s.{column} {way}, s.id {way} limit :limit
            """),  # noqa: S608 - constants of ours; the column is one of an enum
            {
                "agent_id": wanted.agent_id,
                "name": wanted.name,
                "paused": wanted.paused,
                "next_fire_before": wanted.next_fire_before,
                "text": _pattern(wanted.text or ""),
                "only": sorted(wanted.only or ()),
                "value": value,
                "id": schedule_id,
                "limit": limit,
            },
        )
        return [schedule_from(row) for row in rows]

    def input_methods(self, agent_ids: Collection[str]) -> Mapping[str, str]:
        """How each agent takes its input."""
        rows = self._connection.execute(
            text("select id, acp_type from agents where id = any(:ids)"),
            {"ids": sorted(set(agent_ids))},
        )
        return {row.id: AcpType(row.acp_type).input_method for row in rows}


def _place(wanted: FireFilter, after: tuple[datetime, str] | None) -> str:
    """What an index serves: whose fires, and the stretch of nominal time."""
    parts = {
        "f.agent_id = :agent_id": wanted.agent_id,
        "f.schedule_id = :schedule_id": wanted.schedule_id,
        "f.schedule_id = any(:only)": wanted.only,
        "f.nominal_at >= :from_at": wanted.from_at,
        "f.nominal_at < :to_at": wanted.to_at,
        "f.nominal_at <= :nominal and (f.nominal_at < :nominal or f.id > :fire_id)": after,
    }
    return " and ".join(["true", *(part for part, value in parts.items() if value is not None)])


def _conditions(wanted: ScheduleFilter) -> list[str]:
    parts: dict[str, Any] = {
        "s.agent_id = :agent_id": wanted.agent_id,
        "s.name = :name": wanted.name,
        "s.paused = :paused": wanted.paused,
        NEXT_FIRE_BEFORE: wanted.next_fire_before,
        "s.id = any(:only)": wanted.only,
        "(s.name ilike :text or s.description ilike :text)": wanted.text,
    }
    return ["s.deleted_at is null", *(part for part, value in parts.items() if value is not None)]


def _texts(values: Collection[str]) -> list[str] | None:
    return sorted(values) or None


def _pattern(wanted: str) -> str:
    """Anywhere in the text; what means something to LIKE means itself."""
    escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
