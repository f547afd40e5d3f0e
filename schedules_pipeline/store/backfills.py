"""Backfills: occurrences of the past that a person wants delivered after all."""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from uuid import uuid4

from sqlalchemy import Connection, Row, text

from schedules_pipeline.domain.fire import backfill_fire_id, scheduled_fire_id
from schedules_pipeline.domain.schedule import JsonObject, Schedule
from schedules_pipeline.domain.slices import Slice
from schedules_pipeline.services.stored import Backfill, GapOf, MissedFire
from schedules_pipeline.store.rows import PLANNED_AGAIN

COLUMNS = """
    id, schedule_id, from_at, to_at, overlap_policy, forced, instants_count, left_count, next_at,
    created_at
"""
# What nobody will deliver any more, and so may be taken up again.
UNDELIVERED = """
    (f.state in ('failed', 'missed')
     or (f.state = 'cancelled' and f.reason in ('run_cancelled', 'schedule_changed')))
"""


class PostgresBackfills:
    """See `services.store_port.BackfillRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, backfill: Backfill, actor: JsonObject) -> None:
        """What a person asked for."""
        self._connection.execute(
            text("""
                insert into backfills (id, schedule_id, from_at, to_at, overlap_policy, forced,
                                       actor, instants_count, next_at)
                values (:id, :schedule_id, :from_at, :to_at, :overlap_policy, :forced,
                        cast(:actor as jsonb), :instants_count, :next_at)
            """),
            {
                "id": backfill.id,
                "schedule_id": backfill.schedule_id,
                "from_at": backfill.from_at,
                "to_at": backfill.to_at,
                "overlap_policy": backfill.overlap_policy,
                "forced": backfill.forced,
                "actor": json.dumps(actor),
                "instants_count": backfill.instants_count,
                "next_at": backfill.next_at,
            },
        )

    def get(self, backfill_id: str) -> Backfill | None:
        """With its fires counted by state."""
        row = self._connection.execute(
            text(f"""
                select {COLUMNS}, coalesce(
                    (select jsonb_object_agg(state, number) from (
                        select state, count(*) as number from fires
                        where backfill_id = :id group by state) s), '{{}}') as states
                from backfills where id = :id
            """),  # noqa: S608 - a constant of ours
            {"id": backfill_id},
        ).first()
        return None if row is None else _backfill(row)

    def owner(self, backfill_id: str) -> tuple[str, str] | None:
        """The ids of the agent and the schedule that it is for, deleted ones too."""
        row = self._connection.execute(
            text("""
                select s.agent_id, s.id from backfills b
                join agent_run_schedules s on s.id = b.schedule_id
                where b.id = :id
            """),
            {"id": backfill_id},
        ).first()
        return None if row is None else (row.agent_id, row.id)

    def being_fed(self, limit: int) -> Sequence[Backfill]:
        """Those that are not in the ledger as a whole yet, oldest first."""
        rows = self._connection.execute(
            text(f"""
                select {COLUMNS}, '{{}}'::jsonb as states from backfills
                where next_at is not null order by created_at, id limit :most
            """),  # noqa: S608 - a constant of ours
            {"most": limit},
        )
        return [_backfill(row) for row in rows]

    def standing(self, schedule_id: str, nominals: Sequence[datetime]) -> Sequence[str]:
        """What feeding these instants would find of each: `new`, `redrive` or its state."""
        rows = self._connection.execute(
            text(f"""
                select case when f.id is null then 'new' when {UNDELIVERED} then 'redrive'
                            else f.state end
                from unnest(cast(:ids as text[])) as x (id)
                left join fires f on f.id = x.id
            """),  # noqa: S608 - a constant of ours
            {"ids": [scheduled_fire_id(schedule_id, nominal) for nominal in nominals]},
        )
        return rows.scalars().all()

    def feed(
        self,
        schedule: Schedule,
        dated: Sequence[tuple[datetime, datetime]],
        into: Slice,
        now: datetime,
        backfill_id: str | None,
    ) -> int:
        """Give these instants (nominal, due) their fires; returns how many it made or took up.

        One that has no fire gets its one; one that ended undelivered is redriven. The others are
        left as they are.
        """
        ids = [scheduled_fire_id(schedule.id, nominal) for nominal, _ in dated]
        fed = self._connection.execute(
            text(f"""
                insert into fires as f (id, idempotency_key, schedule_id, agent_id, nominal_at,
                                        due_at, owed_at, slice_key, trigger_type, backfill_id)
                select x.id, x.id, :schedule_id, :agent_id, x.nominal_at, x.due_at,
                       greatest(:now, x.due_at), :slice, 'backfill', :backfill_id
                from unnest(cast(:ids as text[]), cast(:nominals as timestamptz[]),
                            cast(:dues as timestamptz[])) as x (id, nominal_at, due_at)
                on conflict (id) do update
                set {PLANNED_AGAIN}, slice_key = excluded.slice_key,
                    backfill_id = excluded.backfill_id
                where {UNDELIVERED}
            """),  # noqa: S608 - a constant of ours
            {
                "schedule_id": schedule.id,
                "agent_id": schedule.agent_id,
                "ids": ids,
                "nominals": [nominal for nominal, _ in dated],
                "dues": [due for _, due in dated],
                "slice": into.key,
                "now": now,
                "backfill_id": backfill_id,
            },
        )
        return int(fed.rowcount)

    def feed_again(
        self,
        schedule: Schedule,
        dated: Sequence[tuple[datetime, datetime]],
        into: Slice,
        now: datetime,
        backfill_id: str,
    ) -> int:
        """A fire more for each instant whose own was delivered or skipped; returns how many."""
        fed = self._connection.execute(
            text("""
                insert into fires (id, idempotency_key, schedule_id, agent_id, nominal_at, due_at,
                                   owed_at, slice_key, trigger_type, forced, backfill_id)
                select x.own, x.own, :schedule_id, :agent_id, x.nominal_at, x.due_at,
                       greatest(:now, x.due_at), :slice, 'backfill', true, :backfill_id
                from unnest(cast(:ids as text[]), cast(:owns as text[]),
                            cast(:nominals as timestamptz[]), cast(:dues as timestamptz[]))
                    as x (id, own, nominal_at, due_at)
                join fires f on f.id = x.id
                where f.state in ('delivered', 'skipped')
            """),
            {
                "schedule_id": schedule.id,
                "agent_id": schedule.agent_id,
                "ids": [scheduled_fire_id(schedule.id, nominal) for nominal, _ in dated],
                "owns": [
                    backfill_fire_id(schedule.id, str(uuid4()), nominal) for nominal, _ in dated
                ],
                "nominals": [nominal for nominal, _ in dated],
                "dues": [due for _, due in dated],
                "slice": into.key,
                "now": now,
                "backfill_id": backfill_id,
            },
        )
        return int(fed.rowcount)

    def advance(self, backfill_id: str, next_at: datetime | None, left: int) -> None:
        """How far it has been fed, and how many more instants it left as they were."""
        self._connection.execute(
            text("""
                update backfills set next_at = :next_at, left_count = left_count + :left
                where id = :id
            """),
            {"id": backfill_id, "next_at": next_at, "left": left},
        )

    def missed_since(self, gap_id: int, limit: int) -> Sequence[tuple[int, datetime, datetime]]:
        """(id, from, to) of gaps that a clock left behind that was not running, by id.

        None younger than ten seconds, and none behind such a one: ids are given out before their
        transactions commit, and not in the order of their times.
        """
        rows = self._connection.execute(
            text("""
                select id, from_at, to_at,
                       created_at < statement_timestamp() - interval '10 seconds' as old_enough
                from gaps
                where id > :after and reason in ('catchup_none', 'coalesced', 'catchup_window')
                order by id limit :most
            """),
            {"after": gap_id, "most": limit},
        )
        known = takewhile(lambda row: row.old_enough, rows)
        return [(row.id, row.from_at, row.to_at) for row in known]

    def gaps_in(
        self, from_at: datetime, to_at: datetime, after: tuple[str, datetime] | None, limit: int
    ) -> Sequence[GapOf]:
        """The stretches of that time that clocks left behind, of schedules that still exist."""
        schedule, since = after or ("", from_at)
        rows = self._connection.execute(
            text("""
                select g.schedule_id, g.from_at, g.to_at
                from gaps g join agent_run_schedules s on s.id = g.schedule_id
                where g.from_at < :to_at and g.to_at > :from_at and s.deleted_at is null
                  and g.reason in ('catchup_none', 'coalesced', 'catchup_window')
                  and (g.schedule_id, g.from_at) > (:schedule, :since)
                order by g.schedule_id, g.from_at limit :most
            """),
            {
                "from_at": from_at,
                "to_at": to_at,
                "schedule": schedule,
                "since": since,
                "most": limit,
            },
        )
        return [GapOf(**row._mapping) for row in rows]

    def missed_in(
        self, from_at: datetime, to_at: datetime, after: tuple[str, datetime] | None, limit: int
    ) -> Sequence[MissedFire]:
        """Occurrences of that time whose own fire ended `missed`, of schedules that still exist."""
        schedule, since = after or ("", from_at)
        rows = self._connection.execute(
            text("""
                select f.schedule_id, f.nominal_at, f.due_at
                from agent_run_schedules s join fires f on f.schedule_id = s.id
                where s.deleted_at is null and s.id >= :schedule
                  and f.nominal_at >= :from_at and f.nominal_at < :to_at
                  and (f.schedule_id, f.nominal_at) > (:schedule, :since)
                  and f.state = 'missed' and f.trigger_type <> 'manual' and not f.forced
                order by f.schedule_id, f.nominal_at limit :most
            """),
            {
                "from_at": from_at,
                "to_at": to_at,
                "schedule": schedule,
                "since": since,
                "most": limit,
            },
        )
        return [MissedFire(**row._mapping) for row in rows]


def _backfill(row: Row[tuple[object, ...]]) -> Backfill:
    return Backfill(**row._mapping)
