"""Definitions, their skips, their change history, and what the clock knows of them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.domain.policies import Policies
from schedules_pipeline.domain.schedule import Content, JsonObject, Schedule
from schedules_pipeline.services.stored import RecentFire, ScheduleActivity
from schedules_pipeline.store.rows import SCHEDULE_COLUMNS, schedule_from

ACTIVE_NAME = "agent_run_schedules_active_name"
RECENT_FIRES = 10

# The name's uniqueness is decided here, by the index, never by looking first.
INSERT = """
    insert into agent_run_schedules
        (id, agent_id, name, description, cron_expression, interval_seconds,
         interval_phase_seconds, fire_at, timezone, cron_day_match, exclude_cron, dst_gap, dst_fold,
         start_at, end_at, jitter_seconds, catchup_policy, catchup_window_seconds, max_fires,
         pause_after_failures, overlap_policy, overlap_scope, overlap_task_timeout_seconds,
         delivery_guarantee, paused, task_params, task_metadata, initial_input, creator_principal,
         version, created_at, updated_at)
    values (:id, :agent_id, :name, :description, :cron_expression, :interval_seconds,
            :interval_phase_seconds, :fire_at, :timezone, :cron_day_match,
            cast(:exclude_cron as text[]), :dst_gap, :dst_fold, :start_at, :end_at,
            :jitter_seconds, :catchup_policy, :catchup_window_seconds, :max_fires,
            :pause_after_failures, :overlap_policy, :overlap_scope,
            :overlap_task_timeout_seconds, :delivery_guarantee, :paused,
            cast(:task_params as jsonb),
            cast(:task_metadata as jsonb), cast(:initial_input as jsonb),
            cast(:creator_principal as jsonb), :version, :created_at, :updated_at)
    on conflict (agent_id, name) where deleted_at is null do nothing
    returning id, version, creator_principal
"""

# Every column that an edit may touch; the caller holds the clock's row, so none is overwritten
# that somebody else wrote meanwhile.
UPDATE = f"""
    update agent_run_schedules s
    set name = :name, description = :description, cron_expression = :cron_expression,
        interval_seconds = :interval_seconds, interval_phase_seconds = :interval_phase_seconds,
        fire_at = :fire_at, timezone = :timezone, cron_day_match = :cron_day_match,
        exclude_cron = cast(:exclude_cron as text[]), dst_gap = :dst_gap, dst_fold = :dst_fold,
        start_at = :start_at, end_at = :end_at, jitter_seconds = :jitter_seconds,
        catchup_policy = :catchup_policy, catchup_window_seconds = :catchup_window_seconds,
        max_fires = :max_fires, pause_after_failures = :pause_after_failures,
        overlap_policy = :overlap_policy, overlap_scope = :overlap_scope,
        overlap_task_timeout_seconds = :overlap_task_timeout_seconds,
        delivery_guarantee = :delivery_guarantee, paused = :paused,
        task_params = cast(:task_params as jsonb), task_metadata = cast(:task_metadata as jsonb),
        initial_input = cast(:initial_input as jsonb),
        creator_principal = cast(:creator_principal as jsonb), version = s.version + 1,
        updated_at = statement_timestamp()
    where s.id = :id and s.deleted_at is null
    returning {SCHEDULE_COLUMNS}
"""  # noqa: S608 - a constant of ours

# One statement: what a create costs is its round trips.
CREATE = text(f"""
    with inserted as ({INSERT}),
    clock as (
        insert into schedule_clock (schedule_id, next_nominal_at, next_due_at, tzdata_version)
        select id, cast(:next_nominal_at as timestamptz), cast(:next_due_at as timestamptz),
               :tzdata_version
        from inserted
    ), history as (
        insert into schedule_changes
            (schedule_id, version, operation, actor, at, tzdata_version, after)
        select id, version, 'create', creator_principal, :created_at, :tzdata_version,
               cast(:definition as jsonb)
        from inserted
    )
    select 1 from inserted
""")  # noqa: S608 - a constant of ours

# A jittered fire's nominal time may be past while its due time is ahead; the bound on the nominal
# time is what the index serves.
ACTIVITY = text("""
    select c.schedule_id, c.next_nominal_at, c.last_fire_at, c.fire_count,
           statement_timestamp() as seen_at,
           array(select f.nominal_at from fires f
                 where f.schedule_id = c.schedule_id and f.state = 'planned'
                   and f.nominal_at
                       > statement_timestamp() - make_interval(secs => s.jitter_seconds)
                   and f.due_at > statement_timestamp()
                 order by f.nominal_at limit :most) as planned_ahead,
           array(select k.nominal_at from schedule_skips k
                 where k.schedule_id = c.schedule_id
                   and k.nominal_at
                       > statement_timestamp() - make_interval(secs => s.jitter_seconds)
                 order by k.nominal_at) as skipped,
           array(select jsonb_build_array(f.id, f.nominal_at, f.trigger_type, f.state, f.reason,
                                          f.task_id)
                 from fires f
                 where f.schedule_id = c.schedule_id and f.nominal_at <= statement_timestamp()
                   and f.due_at <= statement_timestamp()
                 order by f.nominal_at desc, f.id limit :recent) as recent,
           (select count(*) from slices l
            join fires f on f.slice_key = l.slice_key and f.schedule_id = c.schedule_id
            where l.settled_at is null and f.state in ('claimed', 'task_created')) as running_count
    from schedule_clock c join agent_run_schedules s on s.id = c.schedule_id
    where c.schedule_id = any(:ids)
""")


class PostgresSchedules:
    """See `services.store_port.ScheduleRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, schedule: Schedule) -> bool:
        """The definition alone. False: the name is taken."""
        return self._connection.execute(text(INSERT), _columns(schedule)).first() is not None

    def create(
        self, schedule: Schedule, next_at: tuple[datetime, datetime] | None, tzdata_version: str
    ) -> bool:
        """The definition, its clock and the first row of its history; False: the name is taken."""
        nominal, due = next_at or (None, None)
        values = {
            **_columns(schedule),
            "next_nominal_at": nominal,
            "next_due_at": due,
            "tzdata_version": tzdata_version,
            "definition": _definition(schedule),
        }
        return self._connection.execute(CREATE, values).first() is not None

    def get(self, agent_id: str, schedule_id: str) -> Schedule | None:
        """An active one; None when absent, deleted, or another agent's."""
        return self._one("s.agent_id = :agent_id and s.id = :key", agent_id, schedule_id)

    def find(self, schedule_id: str) -> Schedule | None:
        """An active one, whoever's it is."""
        row = self._connection.execute(
            text(f"""
                select {SCHEDULE_COLUMNS} from agent_run_schedules s
                where s.id = :id and s.deleted_at is null
            """),  # noqa: S608 - a constant of ours
            {"id": schedule_id},
        ).first()
        return None if row is None else schedule_from(row)

    def get_by_name(self, agent_id: str, name: str) -> Schedule | None:
        """The active one of that name."""
        return self._one("s.agent_id = :agent_id and s.name = :key", agent_id, name)

    def list(
        self, agent_id: str, *, limit: int, only: Collection[str] | None = None
    ) -> Sequence[Schedule]:
        """Active ones, newest first; `only`: none but these (by id)."""
        these = "" if only is None else "and s.id = any(:only)"
        rows = self._connection.execute(
            text(f"""
                select {SCHEDULE_COLUMNS} from agent_run_schedules s
                where s.agent_id = :agent_id and s.deleted_at is null {these}
                order by s.created_at desc, s.id limit :limit
            """),  # noqa: S608 - a constant of ours
            {"agent_id": agent_id, "limit": limit, "only": sorted(only or ())},
        )
        return [schedule_from(row) for row in rows]

    def made_by(self, creator: JsonObject) -> Sequence[tuple[str, str]]:
        """Agent and id of the active ones whose creator is this one."""
        rows = self._connection.execute(
            text("""
                select agent_id, id from agent_run_schedules
                where creator_principal = cast(:creator as jsonb) and deleted_at is null
                order by id
            """),
            {"creator": _json(creator)},
        )
        return [(row.agent_id, row.id) for row in rows]

    def update(self, schedule: Schedule) -> Schedule | None:
        """Write what an edit changed; None: another active schedule has that name."""
        try:
            with self._connection.begin_nested():
                row = self._connection.execute(text(UPDATE), _columns(schedule)).one()
        except IntegrityError as error:
            if _constraint(error) == ACTIVE_NAME:
                return None
            raise
        return schedule_from(row)

    def skip(self, schedule_id: str, nominal_at: datetime) -> None:
        """Take one occurrence out. Again: nothing changes."""
        self._connection.execute(
            text("""
                insert into schedule_skips (schedule_id, nominal_at) values (:id, :nominal)
                on conflict do nothing
            """),
            {"id": schedule_id, "nominal": nominal_at},
        )

    def unskip(self, schedule_id: str, nominal_at: datetime) -> bool:
        """Put it back. False: it was not skipped."""
        return (
            self._connection.execute(
                text("""
                    delete from schedule_skips where schedule_id = :id and nominal_at = :nominal
                    returning 1
                """),
                {"id": schedule_id, "nominal": nominal_at},
            ).first()
            is not None
        )

    def mark_deleted(self, schedule_id: str) -> Schedule | None:
        """Soft delete; returns the row as it is now, None if it was not active."""
        row = self._connection.execute(
            text(f"""
                update agent_run_schedules s
                set deleted_at = statement_timestamp(), updated_at = statement_timestamp(),
                    version = s.version + 1
                where s.id = :id and s.deleted_at is null
                returning {SCHEDULE_COLUMNS}
            """),  # noqa: S608 - a constant of ours
            {"id": schedule_id},
        ).first()
        return None if row is None else schedule_from(row)

    def record_change(
        self,
        before: Schedule | None,
        after: Schedule,
        *,
        operation: str,
        actor: JsonObject,
        at: datetime,
        tzdata_version: str,
        reason: str | None = None,
        note: str | None = None,
    ) -> None:
        """Append to the change history. The caller holds the clock's row."""
        self._connection.execute(
            text("""
                insert into schedule_changes
                    (schedule_id, version, operation, actor, at, reason, note, tzdata_version,
                     before, after, exhausted_since)
                values (:id, :version, :operation, cast(:actor as jsonb), :at, :reason, :note,
                        :tzdata, cast(:before as jsonb), cast(:after as jsonb),
                        (select last_fire_at from schedule_clock
                         where schedule_id = :id and fire_count >= :limit))
            """),
            {
                "id": after.id,
                "version": after.version,
                "operation": operation,
                "actor": json.dumps(actor),
                "reason": reason,
                "note": note,
                "at": at,
                "limit": None if before is None else before.policies.max_fires,
                "tzdata": tzdata_version,
                "before": None if before is None else _definition(before),
                "after": _definition(after),
            },
        )

    def contents(self, versions: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], Content]:
        """What those (schedule, version) had agents told, from the change history."""
        rows = self._connection.execute(
            text("""
                select c.schedule_id, c.version, c.after
                from unnest(cast(:ids as text[]), cast(:versions as int[])) as x (id, version)
                join schedule_changes c on c.schedule_id = x.id and c.version = x.version
            """),
            {
                "ids": [schedule_id for schedule_id, _ in versions],
                "versions": [version for _, version in versions],
            },
        )
        names = [field.name for field in fields(Content)]
        return {
            (row.schedule_id, row.version): Content(**{name: row.after[name] for name in names})
            for row in rows
        }

    def skips(self, schedule_id: str) -> frozenset[datetime]:
        """The nominal times that a person took out, past ones too."""
        rows = self._connection.execute(
            text("select nominal_at from schedule_skips where schedule_id = :id"),
            {"id": schedule_id},
        )
        return frozenset(rows.scalars())

    def activity(
        self, schedule_ids: Collection[str], *, ahead: int
    ) -> Mapping[str, ScheduleActivity]:
        """The live fields of many schedules at the cost of one."""
        values = {"ids": list(schedule_ids), "most": ahead, "recent": RECENT_FIRES}
        rows = self._connection.execute(ACTIVITY, values).all()
        return {row.schedule_id: _activity(row) for row in rows}

    def _one(self, condition: str, agent_id: str, key: str) -> Schedule | None:
        row = self._connection.execute(
            text(f"""
                select {SCHEDULE_COLUMNS} from agent_run_schedules s
                where {condition} and s.deleted_at is null
            """),  # noqa: S608 - constants of ours
            {"agent_id": agent_id, "key": key},
        ).first()
        return None if row is None else schedule_from(row)


def _columns(schedule: Schedule) -> dict[str, Any]:
    cadence = schedule.cadence
    return {
        **_fields(cadence),
        **_fields(schedule.policies),
        "exclude_cron": list(cadence.exclude_cron),
        "id": schedule.id,
        "agent_id": schedule.agent_id,
        "name": schedule.name,
        "description": schedule.description,
        "paused": schedule.paused,
        "task_params": _json(schedule.task_params),
        "task_metadata": _json(schedule.task_metadata),
        "initial_input": _json(schedule.initial_input),
        "creator_principal": _json(schedule.creator_principal),
        "version": schedule.version,
        "created_at": schedule.created_at,
        "updated_at": schedule.updated_at,
    }


def _json(value: JsonObject | None) -> str | None:
    return None if value is None else json.dumps(value)


def _definition(schedule: Schedule) -> str:
    """The whole definition, as the change history keeps it."""
    definition = _fields(schedule)
    cadence = _fields(definition.pop("cadence"))
    policies = _fields(definition.pop("policies"))
    return json.dumps({**cadence, **policies, **definition}, default=datetime.isoformat)


def _fields(value: Schedule | Cadence | Policies) -> dict[str, Any]:
    """Like `asdict`, without copying what is deep inside."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _constraint(error: IntegrityError) -> str | None:
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None)


def _activity(row: Row[Any]) -> ScheduleActivity:
    return ScheduleActivity(
        schedule_id=row.schedule_id,
        seen_at=row.seen_at,
        next_nominal_at=row.next_nominal_at,
        planned_ahead=tuple(row.planned_ahead),
        skipped=tuple(row.skipped),
        last_fire_at=row.last_fire_at,
        fire_count=row.fire_count,
        recent=tuple(_recent_fire(*each) for each in row.recent),
        running_count=row.running_count,
    )


def _recent_fire(
    fire_id: str,
    nominal_at: str,
    trigger_type: str,
    state: str,
    reason: str | None,
    task_id: str | None,
) -> RecentFire:
    return RecentFire(
        id=fire_id,
        nominal_at=datetime.fromisoformat(nominal_at),
        trigger_type=TriggerType(trigger_type),
        state=FireState(state),
        reason=None if reason is None else FireReason(reason),
        task_id=task_id,
    )
