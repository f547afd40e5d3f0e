"""Who is ahead of whom, who waits in the ledger, and whose task is not final."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from schedules_pipeline.domain.overlap import FireAhead
from schedules_pipeline.domain.policies import OverlapScope
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.services.stored import PreviousTask, Release, WaitingFire, WaitingSchedule

LARGEST_QUESTION = 100


class PostgresOverlaps:
    """See `services.store_port.OverlapRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ahead(
        self, schedule_ids: Collection[str], with_open_tasks: Collection[str]
    ) -> Sequence[FireAhead]:
        """The unfinished fires of these schedules, which can only be in unsettled slices; and of
        the delivered ones those named, whose tasks are not final."""
        rows = self._connection.execute(
            text("""
                select f.id, f.schedule_id, f.due_at, f.claimed_at, d.heartbeat_at,
                       d.finished_at is null as dispatch_live, f.state <> 'delivered' as unfinished,
                       f.task_id, f.stop_requested_at
                from fires f join dispatches d on d.dagster_run_id = f.claimed_by
                where f.slice_key = any(array(
                        select slice_key from slices where settled_at is null))
                  and f.schedule_id = any(:ids) and f.state in ('claimed', 'task_created')
                union all
                select f.id, f.schedule_id, f.due_at, f.claimed_at, d.heartbeat_at,
                       d.finished_at is null, false, f.task_id, f.stop_requested_at
                from fires f join dispatches d on d.dagster_run_id = f.claimed_by
                where f.id = any(:open) and f.schedule_id = any(:ids) and f.state = 'delivered'
            """),
            {"ids": sorted(schedule_ids), "open": sorted(with_open_tasks)},
        )
        return [FireAhead(**row._mapping) for row in rows]

    def waiting(self, schedule_ids: Collection[str]) -> Mapping[str, Sequence[datetime]]:
        """The nominal times of their fires that wait, newest first; most schedules have none.

        They are among the newest, so the look ends as soon as all are found.
        """
        rows = self._connection.execute(
            text("""
                select c.schedule_id, w.nominal_at
                from schedule_clock c
                cross join lateral (
                    select f.nominal_at from fires f
                    where f.schedule_id = c.schedule_id and f.state = 'waiting'
                    order by f.nominal_at desc limit c.waiting_count) w
                where c.schedule_id = any(:ids) and c.waiting_count > 0
            """),
            {"ids": sorted(schedule_ids)},
        )
        found: dict[str, list[datetime]] = defaultdict(list)
        for row in rows:
            found[row.schedule_id].append(row.nominal_at)
        return found

    def hold(self, fires: Mapping[str, str]) -> None:
        """Let these planned fires (id: schedule) wait in the ledger."""
        self._connection.execute(
            text("update fires set state = 'waiting', reason = 'overlap' where id = any(:ids)"),
            {"ids": sorted(fires)},
        )
        self._count(Counter(fires.values()))

    def _count(self, more: Mapping[str, int]) -> None:
        self._connection.execute(
            text("""
                update schedule_clock c set waiting_count = c.waiting_count + x.n
                from unnest(cast(:ids as text[]), cast(:counts as int[])) as x (id, n)
                where c.schedule_id = x.id
            """),
            {"ids": list(more), "counts": list(more.values())},
        )

    def tell_to_stop(self, fire_ids: Collection[str]) -> None:
        """Note that they were told."""
        self._connection.execute(
            text("""
                update fires set stop_requested_at = statement_timestamp()
                where id = any(:ids) and stop_requested_at is null
            """),
            {"ids": sorted(fire_ids)},
        )

    def note_last(self, fires: Mapping[str, str]) -> None:
        """For each schedule (the key) the fire that its agent's task comes from."""
        self._connection.execute(
            text("""
                update schedule_clock c set last_fire_id = x.fire
                from unnest(cast(:ids as text[]), cast(:fires as text[])) as x (id, fire)
                where c.schedule_id = x.id
            """),
            {"ids": list(fires), "fires": list(fires.values())},
        )

    def previous_tasks(self, slice_key: str) -> Sequence[PreviousTask]:
        """Of the slice's schedules that mind tasks: the last one, unless it is too old to count."""
        rows = self._connection.execute(
            text("""
                select s.id as schedule_id, p.id as fire_id, p.task_id
                from agent_run_schedules s
                join schedule_clock c on c.schedule_id = s.id
                join fires p on p.id = c.last_fire_id
                where s.overlap_scope = 'task' and s.overlap_policy <> 'allow_all'
                  and p.state = 'delivered'
                  and p.claimed_at > statement_timestamp()
                      - make_interval(secs => s.overlap_task_timeout_seconds)
                  and exists (
                      select 1 from fires f
                      where f.slice_key = :key and f.schedule_id = s.id and f.state = 'planned')
                limit :most
            """),
            {"key": slice_key, "most": LARGEST_QUESTION},
        )
        return [PreviousTask(**row._mapping) for row in rows]

    def waiting_schedules(self, limit: int) -> Sequence[WaitingSchedule]:
        """Schedules with fires that wait, and the task that they may wait for.

        In no order: of more than a tick can look at, each has its turn.
        """
        rows = self._connection.execute(
            text("""
                select c.schedule_id, s.overlap_scope as scope,
                       case when p.state = 'delivered' and p.claimed_at > statement_timestamp()
                               - make_interval(secs => s.overlap_task_timeout_seconds)
                            then p.task_id end as task_id
                from schedule_clock c
                join agent_run_schedules s on s.id = c.schedule_id
                left join fires p on p.id = c.last_fire_id
                where c.waiting_count > 0
                order by random() limit :most
            """),
            {"most": limit},
        )
        return [
            WaitingSchedule(
                schedule_id=row.schedule_id, scope=OverlapScope(row.scope), task_id=row.task_id
            )
            for row in rows
        ]

    def first_waiting(self, schedule_ids: Collection[str]) -> Sequence[WaitingFire]:
        """Of each of these schedules the fire that has waited longest."""
        rows = self._connection.execute(
            text("""
                select distinct on (c.schedule_id) w.id, c.schedule_id, a.acp_type
                from schedule_clock c
                join agent_run_schedules s on s.id = c.schedule_id
                join agents a on a.id = s.agent_id
                cross join lateral (
                    select f.id, f.nominal_at from fires f
                    where f.schedule_id = c.schedule_id and f.state = 'waiting'
                    order by f.nominal_at desc limit c.waiting_count) w
                where c.schedule_id = any(:ids) and c.waiting_count > 0
                order by c.schedule_id, w.nominal_at
            """),
            {"ids": sorted(schedule_ids)},
        )
        return [
            WaitingFire(fire_id=row.id, schedule_id=row.schedule_id, acp_type=AcpType(row.acp_type))
            for row in rows
        ]

    def release(self, releases: Sequence[Release], now: datetime) -> set[str]:
        """Plan them anew, unless a fire of their schedule is under way or due already.

        One at a time: whoever ends the released one lets the next go. Returns the keys of the
        slices that got any.
        """
        rows = self._connection.execute(
            text("""
                with released as (
                    update fires f
                    set state = 'planned', reason = null, owed_at = greatest(:now, f.due_at),
                        slice_key = x.slice_key
                    from unnest(cast(:ids as text[]), cast(:slices as text[])) as x (id, slice_key)
                    where f.id = x.id and f.state = 'waiting'
                      and not exists (
                          select 1 from fires o
                          where o.schedule_id = f.schedule_id
                            and o.slice_key = any(array(
                                select slice_key from slices where settled_at is null))
                            and (o.state in ('claimed', 'task_created')
                                 or (o.state = 'planned' and o.due_at <= :now)))
                    returning f.schedule_id, f.slice_key
                )
                update schedule_clock c set waiting_count = c.waiting_count - 1
                from released r where c.schedule_id = r.schedule_id
                returning r.slice_key
            """),
            {
                "now": now,
                "ids": [r.fire_id for r in releases],
                "slices": [r.slice.key for r in releases],
            },
        )
        return set(rows.scalars())

    def slices_of_waiting(self, schedule_id: str) -> Collection[str]:
        """The keys of the slices that its waiting fires are in."""
        rows = self._connection.execute(
            text("""
                select distinct f.slice_key from schedule_clock c join fires f using (schedule_id)
                where c.schedule_id = :id and c.waiting_count > 0 and f.state = 'waiting'
            """),
            {"id": schedule_id},
        )
        return set(rows.scalars())

    def drop_waiting(self, schedule_id: str) -> None:
        """The schedule was deleted: nothing of it waits any more."""
        self._connection.execute(
            text("""
                with ended as (
                    update fires
                    set state = 'skipped', reason = 'deleted',
                        finished_at = statement_timestamp()
                    where schedule_id = :id and state = 'waiting'
                )
                update schedule_clock set waiting_count = 0 where schedule_id = :id
            """),
            {"id": schedule_id},
        )
