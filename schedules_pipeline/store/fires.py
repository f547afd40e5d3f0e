"""The ledger's rows, as ticks and runs write them. Never a statement per fire."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text

from schedules_pipeline.domain.claiming import Candidate, FireAhead
from schedules_pipeline.domain.fire import FireReason, FireState, scheduled_fire_id
from schedules_pipeline.domain.planning import PlannedFire, SchedulePlan
from schedules_pipeline.domain.schedule import Agent, Schedule
from schedules_pipeline.services.store_port import (
    AuditRecord,
    Claim,
    LandedFire,
    OpenFire,
    Outcome,
    TaskRow,
)
from schedules_pipeline.store.rows import (
    AGENT_COLUMNS,
    FIRE_COLUMNS,
    SCHEDULE_COLUMNS,
    agent_from,
    fire_from,
    schedule_from,
)

RECENTLY_SETTLED = timedelta(minutes=2)
LANDED_AT_ONCE = 1_000


class PostgresFires:
    """See `services.store_port.FireRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def plan(self, plans: Sequence[SchedulePlan]) -> int:
        """Insert the plans' fires and gaps; what is there already stays as it is."""
        self._insert_gaps([plan for plan in plans if plan.gap is not None])
        planned = [(plan, fire) for plan in plans for fire in plan.fires]
        return self._insert_fires(planned) if planned else 0

    def _insert_fires(self, planned: Sequence[tuple[SchedulePlan, PlannedFire]]) -> int:
        ids = [scheduled_fire_id(plan.schedule_id, fire.nominal_at) for plan, fire in planned]
        inserted = self._connection.execute(
            text("""
                insert into fires (id, idempotency_key, schedule_id, agent_id, nominal_at, due_at,
                                   owed_at, slice_key, trigger_type, state, reason, finished_at)
                select x.id, x.id, x.schedule_id, x.agent_id, x.nominal_at, x.due_at,
                       x.owed_at, x.slice_key, 'scheduled',
                       case when x.skipped then 'skipped' else 'planned' end,
                       case when x.skipped then 'skipped_by_user' end,
                       case when x.skipped then statement_timestamp() end
                from unnest(cast(:ids as text[]), cast(:schedule_ids as text[]),
                            cast(:agent_ids as text[]), cast(:nominals as timestamptz[]),
                            cast(:dues as timestamptz[]), cast(:oweds as timestamptz[]),
                            cast(:slices as text[]), cast(:skips as boolean[]))
                    as x (id, schedule_id, agent_id, nominal_at, due_at, owed_at, slice_key,
                          skipped)
                on conflict do nothing
            """),
            {
                "ids": ids,
                "schedule_ids": [plan.schedule_id for plan, _ in planned],
                "agent_ids": [plan.reading.schedule.agent_id for plan, _ in planned],
                "nominals": [fire.nominal_at for _, fire in planned],
                "dues": [fire.due_at for _, fire in planned],
                "oweds": [fire.owed_at for _, fire in planned],
                "slices": [fire.slice.key for _, fire in planned],
                "skips": [fire.skipped for _, fire in planned],
            },
        )
        return int(inserted.rowcount)

    def _insert_gaps(self, plans: Sequence[SchedulePlan]) -> None:
        gaps = [(plan.schedule_id, plan.gap) for plan in plans if plan.gap is not None]
        if not gaps:
            return
        self._connection.execute(
            text("""
                insert into gaps (schedule_id, from_at, to_at, reason)
                select * from unnest(cast(:ids as text[]), cast(:froms as timestamptz[]),
                                     cast(:tos as timestamptz[]), cast(:reasons as text[]))
            """),
            {
                "ids": [schedule_id for schedule_id, _ in gaps],
                "froms": [gap.from_at for _, gap in gaps],
                "tos": [gap.to_at for _, gap in gaps],
                "reasons": [gap.reason.value for _, gap in gaps],
            },
        )

    def open_in(self, slice_key: str, dagster_run_id: str, limit: int) -> Sequence[OpenFire]:
        """What this run may take when it is due: planned fires, and unfinished ones that nobody
        else holds (their dispatch is finished, or is this run's own). Of too many, each agent's
        earliest: one agent's crowd must not hide another's fires."""
        rows = self._connection.execute(
            text("""
                select id, schedule_id, agent_id, due_at
                from (
                    select f.id, f.schedule_id, f.agent_id, f.due_at,
                           row_number() over (partition by f.agent_id order by f.due_at, f.id)
                               as turn
                    from fires f left join dispatches d on d.dagster_run_id = f.claimed_by
                    where f.slice_key = :key and (
                        f.state = 'planned'
                        or (f.state in ('claimed', 'task_created')
                            and (f.claimed_by = :run or d.finished_at is not null)))
                ) as open_fires
                order by turn, due_at, id limit :most
            """),
            {"key": slice_key, "run": dagster_run_id, "most": limit},
        )
        return [OpenFire(**row._mapping) for row in rows]

    def lock_candidates(
        self, fire_ids: Collection[str], schedule_ids: Collection[str], dagster_run_id: str
    ) -> Sequence[Candidate]:
        """Those of `fire_ids` that this run may take, of the schedules whose mutex it holds."""
        rows = self._connection.execute(
            text("""
                select f.id, f.schedule_id, f.nominal_at, f.due_at, f.owed_at, f.state, f.attempts,
                       f.redrive_count, f.idempotency_key, f.task_id,
                       statement_timestamp() as seen_at
                from fires f left join dispatches d on d.dagster_run_id = f.claimed_by
                where f.id = any(:ids) and f.schedule_id = any(:schedule_ids) and (
                    f.state = 'planned'
                    or (f.state in ('claimed', 'task_created')
                        and (f.claimed_by = :run or d.finished_at is not null)))
                order by f.id for update of f
            """),
            {
                "ids": sorted(fire_ids),
                "schedule_ids": sorted(schedule_ids),
                "run": dagster_run_id,
            },
        )
        return [_candidate(row) for row in rows]

    def ahead(self, schedule_ids: Collection[str]) -> Sequence[FireAhead]:
        """The unfinished fires of these schedules. They can only be in unsettled slices."""
        rows = self._connection.execute(
            text("""
                select f.id, f.schedule_id, f.due_at, f.claimed_at, d.heartbeat_at,
                       d.finished_at is null as dispatch_live
                from fires f join dispatches d on d.dagster_run_id = f.claimed_by
                where f.slice_key = any(array(
                        select slice_key from slices where settled_at is null))
                  and f.schedule_id = any(:ids) and f.state in ('claimed', 'task_created')
            """),
            {"ids": sorted(schedule_ids)},
        )
        return [FireAhead(**row._mapping) for row in rows]

    def definitions(self, schedule_ids: Collection[str]) -> Mapping[str, tuple[Schedule, Agent]]:
        """Schedules (deleted ones too) and their agents, by schedule id."""
        rows = self._connection.execute(
            text(f"""
                select {SCHEDULE_COLUMNS}, {AGENT_COLUMNS}
                from agent_run_schedules s join agents a on a.id = s.agent_id
                where s.id = any(:ids)
            """),  # noqa: S608 - constants of ours
            {"ids": sorted(schedule_ids)},
        )
        return {row.schedule_id: (schedule_from(row), agent_from(row)) for row in rows}

    def claim(self, claims: Sequence[Claim], dagster_run_id: str) -> None:
        """Write the claims. A take-over keeps its state, its attempts and the version it began."""
        self._connection.execute(
            text("""
                update fires f
                set state = case f.state when 'planned' then 'claimed' else f.state end,
                    claimed_by = :run,
                    claimed_at = coalesce(f.claimed_at, statement_timestamp()),
                    schedule_version = coalesce(f.schedule_version, x.version),
                    task_id = coalesce(f.task_id, x.task_id),
                    possible_duplicate = f.possible_duplicate or x.doubtful
                from unnest(cast(:ids as text[]), cast(:versions as int[]),
                            cast(:tasks as text[]), cast(:doubts as boolean[]))
                    as x (id, version, task_id, doubtful)
                where f.id = x.id
            """),
            {
                "run": dagster_run_id,
                "ids": [c.fire_id for c in claims],
                "versions": [c.schedule_version for c in claims],
                "tasks": [c.task_id for c in claims],
                "doubts": [c.doubtful for c in claims],
            },
        )

    def end_unclaimed(self, ends: Sequence[tuple[str, FireState, FireReason]]) -> None:
        """End fires that will not be sent."""
        self._connection.execute(
            text("""
                update fires f
                set state = x.state, reason = x.reason, finished_at = statement_timestamp()
                from unnest(cast(:ids as text[]), cast(:states as text[]),
                            cast(:reasons as text[])) as x (id, state, reason)
                where f.id = x.id
            """),
            {
                "ids": [fire_id for fire_id, _, _ in ends],
                "states": [state.value for _, state, _ in ends],
                "reasons": [reason.value for _, _, reason in ends],
            },
        )

    def create_tasks(self, tasks: Sequence[TaskRow]) -> None:
        """Get-or-create by name: the id is a function of the name, so there is nothing to get."""
        self._connection.execute(
            text("""
                insert into tasks (id, name, agent_id, status_reason, params, task_metadata)
                select x.id, x.name, x.agent_id, 'Created for a scheduled run',
                       nullif(x.params, 'null'), x.task_metadata
                from unnest(cast(:ids as text[]), cast(:names as text[]),
                            cast(:agents as text[]), cast(:params as jsonb[]),
                            cast(:metadata as jsonb[]))
                    as x (id, name, agent_id, params, task_metadata)
                on conflict (name) do nothing
            """),
            {
                "ids": [t.id for t in tasks],
                "names": [t.name for t in tasks],
                "agents": [t.agent_id for t in tasks],
                "params": [_json(t.params) for t in tasks],
                "metadata": [_json(t.task_metadata) for t in tasks],
            },
        )

    def write_outcomes(self, outcomes: Sequence[Outcome], dagster_run_id: str) -> set[str]:
        """Write one step of each; returns the ids of the fires that were still this run's.

        Written twice (the answer to the first commit was lost), the second changes nothing and
        returns the same ids.
        """
        rows = self._connection.execute(
            text("""
                update fires f
                set state = x.state,
                    reason = x.reason,
                    attempts = x.attempts,
                    error = x.error,
                    task_created_at = case when x.state in ('task_created', 'delivered')
                        then coalesce(f.task_created_at, statement_timestamp())
                        else f.task_created_at end,
                    sent_at = coalesce(x.sent_at, f.sent_at),
                    delivered_at = case when x.state = 'delivered' then statement_timestamp() end,
                    finished_at = case when x.state in ('delivered', 'failed')
                        then statement_timestamp() end,
                    reply_excerpt = x.reply_excerpt,
                    possible_duplicate = f.possible_duplicate or x.possible_duplicate
                from unnest(cast(:ids as text[]), cast(:states as text[]),
                            cast(:reasons as text[]), cast(:attempts as int[]),
                            cast(:errors as text[]), cast(:sents as timestamptz[]),
                            cast(:replies as text[]), cast(:doubts as boolean[]))
                    as x (id, state, reason, attempts, error, sent_at, reply_excerpt,
                          possible_duplicate)
                where f.id = x.id and f.claimed_by = :run
                  and (f.state in ('claimed', 'task_created') or f.state = x.state)
                returning f.id
            """),
            {
                "run": dagster_run_id,
                "ids": [o.fire_id for o in outcomes],
                "states": [o.state.value for o in outcomes],
                "reasons": [o.reason and o.reason.value for o in outcomes],
                "attempts": [o.attempts for o in outcomes],
                "errors": [o.error for o in outcomes],
                "sents": [o.sent_at for o in outcomes],
                "replies": [o.reply_excerpt for o in outcomes],
                "doubts": [o.possible_duplicate for o in outcomes],
            },
        )
        return set(rows.scalars())

    def unrecorded(self, slice_key: str, limit: int) -> Sequence[AuditRecord]:
        """Fires of the slice that ended and have no event in Dagster yet, in nominal order."""
        rows = self._connection.execute(
            text(f"""
                select {FIRE_COLUMNS}, s.name as schedule_name, a.name as agent_name
                from fires f
                join agent_run_schedules s on s.id = f.schedule_id
                join agents a on a.id = f.agent_id
                where f.slice_key = :key and f.finished_at is not null and f.recorded_at is null
                order by f.nominal_at, f.id limit :most
            """),  # noqa: S608 - a constant of ours
            {"key": slice_key, "most": limit},
        )
        return [
            AuditRecord(
                fire=fire_from(row), schedule_name=row.schedule_name, agent_name=row.agent_name
            )
            for row in rows
        ]

    def mark_recorded(self, fire_ids: Collection[str]) -> None:
        """They have their event now."""
        self._connection.execute(
            text("""
                update fires set recorded_at = statement_timestamp()
                where id = any(:ids) and recorded_at is null
            """),
            {"ids": sorted(fire_ids)},
        )

    def landed(self, since: datetime | None) -> Sequence[LandedFire]:
        """Those of the last minutes' slices that ended after `since`, by the time they ended."""
        rows = self._connection.execute(
            text("""
                select f.id as fire_id, a.name as agent_name, s.name as schedule_name,
                       f.nominal_at, f.due_at, f.state, f.reason, f.sent_at, f.finished_at
                from slices l
                join fires f on f.slice_key = l.slice_key
                join agent_run_schedules s on s.id = f.schedule_id
                join agents a on a.id = f.agent_id
                where (l.settled_at is null or l.settled_at > statement_timestamp() - :recent)
                  and l.starts_at > statement_timestamp() - interval '1 day'
                  and f.finished_at > coalesce(:since, '-infinity')
                order by f.finished_at, f.id limit :most
            """),
            {"since": since, "recent": RECENTLY_SETTLED, "most": LANDED_AT_ONCE},
        )
        return [
            LandedFire(
                **{
                    **row._mapping,
                    "state": FireState(row.state),
                    "reason": row.reason and FireReason(row.reason),
                }
            )
            for row in rows
        ]


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(**{**row._mapping, "state": FireState(row.state)})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
