"""What runs do with the ledger's rows: claim, end, and record them. Never a statement per fire."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from schedules_pipeline.domain.claiming import Candidate, Definition
from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.services.stored import (
    AuditRecord,
    Claim,
    OpenFire,
    Outcome,
)
from schedules_pipeline.store.rows import (
    AGENT_COLUMNS,
    FIRE_COLUMNS,
    SCHEDULE_COLUMNS,
    agent_from,
    fire_from,
    schedule_from,
)
from schedules_pipeline.store.switches import switched_on

# Of the row itself, which is read again when whoever told it to stop held it meanwhile.
STOPPED = "f.stop_requested_at is not null and x.state <> 'delivered'"


class PostgresClaims:
    """See `services.store_port.ClaimRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open_in(self, slice_key: str, dagster_run_id: str, limit: int) -> Sequence[OpenFire]:
        """What this run may take when it is due: planned fires, and unfinished ones that nobody
        else holds (their dispatch is finished, or is this run's own). Of too many, each agent's
        earliest: one agent's crowd must not hide another's fires. What is switched off is not
        open: no run stays up for it."""
        rows = self._connection.execute(
            text(f"""
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
                      and {switched_on("f.agent_id")}
                ) as open_fires
                order by turn, due_at, id limit :most
            """),  # noqa: S608 - constants of ours
            {"key": slice_key, "run": dagster_run_id, "most": limit},
        )
        return [OpenFire(*row) for row in rows]

    def lock_candidates(
        self, fire_ids: Collection[str], schedule_ids: Collection[str], dagster_run_id: str
    ) -> Sequence[Candidate]:
        """Those of `fire_ids` that this run may take, of the schedules whose mutex it holds."""
        rows = self._connection.execute(
            text("""
                select f.id, f.schedule_id, f.trigger_type, f.nominal_at, f.due_at, f.owed_at,
                       f.state, f.attempts,
                       f.redrive_count, f.idempotency_key, f.schedule_version, f.task_id,
                       f.stop_requested_at,
                       case when b.id is null then f.trigger_type = 'backfill'
                            else b.overlap_policy = 'one_by_one' end as in_turn,
                       statement_timestamp() as seen_at
                from fires f
                left join dispatches d on d.dagster_run_id = f.claimed_by
                left join backfills b on b.id = f.backfill_id
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

    def definitions(self, schedule_ids: Collection[str]) -> Mapping[str, Definition]:
        """Schedules (deleted ones too), their agents and their clocks' counts, by schedule id."""
        rows = self._connection.execute(
            text(f"""
                select {SCHEDULE_COLUMNS}, {AGENT_COLUMNS}, c.fire_count, c.waiting_count
                from agent_run_schedules s
                join agents a on a.id = s.agent_id
                join schedule_clock c on c.schedule_id = s.id
                where s.id = any(:ids)
            """),  # noqa: S608 - constants of ours
            {"ids": sorted(schedule_ids)},
        )
        return {
            row.schedule_id: Definition(
                schedule=schedule_from(row),
                agent=agent_from(row),
                fire_count=row.fire_count,
                waiting_count=row.waiting_count,
            )
            for row in rows
        }

    def claim(self, claims: Sequence[Claim], dagster_run_id: str) -> None:
        """Write the claims. A take-over keeps its state, its attempts and the version it began."""
        self._connection.execute(
            text("""
                update fires f
                set state = case f.state when 'planned' then 'claimed' else f.state end,
                    claimed_by = :run,
                    claimed_at = coalesce(f.claimed_at, statement_timestamp()),
                    schedule_version = coalesce(f.schedule_version, x.version),
                    task_id = coalesce(f.task_id, x.task_id)
                from unnest(cast(:ids as text[]), cast(:versions as int[]),
                            cast(:tasks as text[])) as x (id, version, task_id)
                where f.id = x.id
            """),
            {
                "run": dagster_run_id,
                "ids": [c.fire_id for c in claims],
                "versions": [c.schedule_version for c in claims],
                "tasks": [c.task_id for c in claims],
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

    def write_outcomes(self, outcomes: Sequence[Outcome], dagster_run_id: str) -> set[str]:
        """Write one step of each; returns the ids of the fires that were still this run's.

        Written twice (the answer to the first commit was lost), the second changes nothing and
        returns the same ids. A fire that was told to stop goes no further than where it stands:
        anything but its delivery is its end, `cancelled/overlap`.
        """
        rows = self._connection.execute(
            text(f"""
                update fires f
                set state = case when {STOPPED} then 'cancelled' else x.state end,
                    reason = case when {STOPPED} then 'overlap' else x.reason end,
                    attempts = x.attempts,
                    error = x.error,
                    task_created_at = case
                        when x.state in ('task_created', 'delivered') and not ({STOPPED})
                        then coalesce(f.task_created_at, statement_timestamp())
                        else f.task_created_at end,
                    sent_at = coalesce(x.sent_at, f.sent_at),
                    delivered_at = case when x.state = 'delivered' then statement_timestamp() end,
                    finished_at = case
                        when {STOPPED} or x.state in ('delivered', 'failed', 'skipped')
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
                returning f.id, f.state <> 'cancelled' as ours
            """),  # noqa: S608 - a constant of ours
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
        return {row.id for row in rows if row.ours}

    def ended(self, fire_ids: Collection[str]) -> set[str]:
        """Those of them that have come to an end."""
        rows = self._connection.execute(
            text("select id from fires where id = any(:ids) and finished_at is not null"),
            {"ids": sorted(fire_ids)},
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


def _candidate(row: Row[Any]) -> Candidate:
    enums = {"state": FireState(row.state), "trigger_type": TriggerType(row.trigger_type)}
    return Candidate(**{**row._mapping, **enums})
