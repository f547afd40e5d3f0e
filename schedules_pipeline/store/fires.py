"""The ledger's rows, as the clock and people plan and change them. Never a statement per fire."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from schedules_pipeline.domain.fire import scheduled_fire_id
from schedules_pipeline.domain.planning import Gap, PlannedFire, SchedulePlan
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.domain.slices import Slice, SliceKind
from schedules_pipeline.services.stored import (
    Fire,
    FireMove,
    PlannedAhead,
)
from schedules_pipeline.store.rows import (
    FIRE_COLUMNS,
    PLANNED_AGAIN,
    fire_from,
)


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
