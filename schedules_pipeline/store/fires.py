"""The ledger's rows, as ticks and runs write them. Never a statement per fire."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from schedules_pipeline.domain.claiming import Candidate, Definition
from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType, scheduled_fire_id
from schedules_pipeline.domain.planning import Gap, PlannedFire, SchedulePlan
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.domain.slices import Slice, SliceKind
from schedules_pipeline.services.stored import (
    AuditRecord,
    Claim,
    Fire,
    FireMove,
    OpenFire,
    Outcome,
    PlannedAhead,
)
from schedules_pipeline.store.rows import (
    AGENT_COLUMNS,
    FIRE_COLUMNS,
    PLANNED_AGAIN,
    SCHEDULE_COLUMNS,
    agent_from,
    fire_from,
    schedule_from,
)
from schedules_pipeline.store.switches import switched_on

# Of the row itself, which is read again when whoever told it to stop held it meanwhile.
STOPPED = "f.stop_requested_at is not null and x.state <> 'delivered'"


class PostgresFires:
    """See `services.store_port.FireRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def plan(self, plans: Sequence[SchedulePlan]) -> int:
        """Insert the plans' fires and gaps; what is there already stays as it is."""
        self.insert_gaps([(p.schedule_id, p.gap) for p in plans if p.gap is not None])
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
                on conflict (id) do update
                set state = excluded.state, reason = excluded.reason,
                    finished_at = excluded.finished_at, recorded_at = null,
                    due_at = excluded.due_at, owed_at = excluded.owed_at,
                    slice_key = excluded.slice_key
                where (fires.state = 'cancelled' and fires.reason = 'schedule_changed')
                   or (fires.state = 'skipped' and fires.reason = 'skipped_by_user'
                       and excluded.state = 'planned')
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

    def insert_gaps(self, gaps: Sequence[tuple[str, Gap]]) -> None:
        """By schedule. A schedule's gaps never overlap: one begins behind the last.

        An edit may leave a jittered clock at an occurrence whose nominal time is past, and so
        covered already.
        """
        if not gaps:
            return
        self._connection.execute(
            text("""
                insert into gaps (schedule_id, from_at, to_at, reason)
                select x.id, greatest(x.from_at, last.to_at), x.to_at, x.reason
                from unnest(cast(:ids as text[]), cast(:froms as timestamptz[]),
                            cast(:tos as timestamptz[]), cast(:reasons as text[]))
                    as x (id, from_at, to_at, reason)
                left join lateral (
                    select g.to_at from gaps g where g.schedule_id = x.id
                    order by g.from_at desc limit 1) last on true
                where x.to_at > greatest(x.from_at, last.to_at)
            """),
            {
                "ids": [schedule_id for schedule_id, _ in gaps],
                "froms": [gap.from_at for _, gap in gaps],
                "tos": [gap.to_at for _, gap in gaps],
                "reasons": [gap.reason.value for _, gap in gaps],
            },
        )

    def insert_gap(self, schedule_id: str, gap: Gap) -> None:
        """A stretch that an edit leaves behind unplanned."""
        self.insert_gaps([(schedule_id, gap)])

    def cancel_slices(self, slice_keys: Collection[str]) -> None:
        """End what is open in slices that nobody works: a person cancelled their run.

        Where the input may have gone out, nobody knows; the rest was not sent.
        """
        self._connection.execute(
            text("""
                update fires f
                set state = case state when 'task_created' then 'failed' else 'cancelled' end,
                    reason = case state when 'task_created' then 'delivery_unknown'
                             else 'run_cancelled' end,
                    error = coalesce(error, 'A person cancelled the Dagster run.'),
                    finished_at = statement_timestamp()
                where f.slice_key = any(:keys)
                  and f.state in ('planned', 'claimed', 'task_created')
                  and not exists (
                      select 1 from dispatches d
                      where d.slice_key = f.slice_key and d.finished_at is null)
            """),
            {"keys": sorted(slice_keys)},
        )

    def planned_ahead(self, schedule_id: str, now: datetime) -> Sequence[PlannedAhead]:
        """Scheduled fires that wait for their time."""
        rows = self._connection.execute(
            text("""
                select f.id, f.nominal_at, f.due_at,
                       case when s.kind <> 'now' then s.kind
                            when a.acp_type = 'sync' then 'sync' else 'minute' end as slice_kind
                from fires f join slices s using (slice_key) join agents a on a.id = f.agent_id
                where f.schedule_id = :id and f.state = 'planned' and f.due_at > :now
                  and f.trigger_type = 'scheduled'
                  and f.slice_key = any(array(
                      select slice_key from slices where settled_at is null))
            """),
            {"id": schedule_id, "now": now},
        )
        return [
            PlannedAhead(**{**row._mapping, "slice_kind": SliceKind(row.slice_kind)})
            for row in rows
        ]

    def cancel(self, fire_ids: Collection[str]) -> None:
        """Planned fires that are no longer occurrences."""
        self._connection.execute(
            text("""
                update fires
                set state = 'cancelled', reason = 'schedule_changed',
                    finished_at = statement_timestamp()
                where id = any(:ids) and state = 'planned'
            """),
            {"ids": sorted(fire_ids)},
        )

    def move(self, moves: Sequence[FireMove]) -> None:
        """To another due time; their slices are open already."""
        self._connection.execute(
            text("""
                update fires f set due_at = x.due_at, owed_at = x.due_at, slice_key = x.slice_key
                from unnest(cast(:ids as text[]), cast(:dues as timestamptz[]),
                            cast(:slices as text[])) as x (id, due_at, slice_key)
                where f.id = x.id and f.state = 'planned'
            """),
            {
                "ids": [move.fire_id for move in moves],
                "dues": [move.due_at for move in moves],
                "slices": [move.slice.key for move in moves],
            },
        )

    def skip(self, schedule_id: str, nominal_at: datetime) -> bool:
        """End a planned fire; False when it has been claimed. None planned yet: True."""
        states = self._connection.execute(
            text("""
                with skipped as (
                    update fires
                    set state = 'skipped', reason = 'skipped_by_user',
                        finished_at = statement_timestamp()
                    where id = :id and state = 'planned'
                )
                select state from fires where id = :id
            """),
            {"id": scheduled_fire_id(schedule_id, nominal_at)},
        ).scalars()
        return all(state in ("planned", "skipped", "cancelled") for state in states)

    def get(self, fire_id: str) -> Fire | None:
        """One row, as it is shown."""
        row = self._connection.execute(
            text(f"select {FIRE_COLUMNS} from fires f where f.id = :id"),  # noqa: S608
            {"id": fire_id},
        ).first()
        return None if row is None else fire_from(row)

    def insert_manual(self, fire_id: str, schedule: Schedule, now: datetime, into: Slice) -> None:
        """A fire that is due at once."""
        self._connection.execute(
            text("""
                insert into fires (id, idempotency_key, schedule_id, agent_id, nominal_at, due_at,
                                   owed_at, slice_key, trigger_type)
                values (:id, :id, :schedule_id, :agent_id, :now, :now, :now, :slice, 'manual')
            """),
            {
                "id": fire_id,
                "schedule_id": schedule.id,
                "agent_id": schedule.agent_id,
                "now": now,
                "slice": into.key,
            },
        )

    def reopen(self, fire_ids: Collection[str], now: datetime, into: Slice | None) -> None:
        """Undelivered ends become planned again, under the next redrive's key."""
        self._connection.execute(
            text(f"""
                update fires f
                set {PLANNED_AGAIN}, slice_key = coalesce(:slice, f.slice_key)
                where f.id = any(:ids)
            """),  # noqa: S608 - a constant of ours
            {
                "ids": sorted(fire_ids),
                "now": now,
                "slice": None if into is None else into.key,
            },
        )

    def reopenable_in(self, slice_key: str) -> Sequence[str]:
        """Fires of the slice that a person's run takes up again."""
        return list(
            self._connection.execute(
                text("""
                    select id from fires where slice_key = :key and (
                        state in ('failed', 'missed')
                        or (state = 'cancelled' and reason = 'run_cancelled'))
                    order by id
                """),
                {"key": slice_key},
            ).scalars()
        )

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
