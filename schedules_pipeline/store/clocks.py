"""`schedule_clock`: when each schedule is due next; its row is the schedule's mutex."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, Row, text

from schedules_pipeline.domain.fire import GapReason
from schedules_pipeline.domain.planning import ClockReading, Gap, SchedulePlan
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.services.stored import OutdatedClock, Standing
from schedules_pipeline.store.database import patient_for
from schedules_pipeline.store.rows import SCHEDULE_COLUMNS, schedule_from
from schedules_pipeline.store.switches import switched_on

READING_COLUMNS = f"""
    {SCHEDULE_COLUMNS}, c.next_nominal_at, c.next_due_at, a.acp_type,
    coalesce((select array_agg(k.nominal_at) from schedule_skips k
              where k.schedule_id = s.id and k.nominal_at >= c.next_nominal_at),
             '{{}}') as skips
"""  # noqa: S608 - a constant of ours

CLOCKS = """
    from schedule_clock c
    join agent_run_schedules s on s.id = c.schedule_id
    join agents a on a.id = s.agent_id
"""

READING = f"select {READING_COLUMNS} {CLOCKS}"


# What stands before a clock: the last change, gap and due fire, and the fires planned ahead.
ACCOUNTED = """
    (select h.at from schedule_changes h where h.schedule_id = c.schedule_id
     order by h.id desc limit 1) as changed_at,
    (select g.to_at from gaps g where g.schedule_id = c.schedule_id
     order by g.from_at desc limit 1) as gap_until,
    (select f.nominal_at from fires f
     where f.schedule_id = c.schedule_id and f.trigger_type = 'scheduled'
       and f.due_at <= statement_timestamp() and f.reason is distinct from 'schedule_changed'
     order by f.nominal_at desc limit 1) as last_nominal_at,
    array(select f.nominal_at from fires f
          where f.schedule_id = c.schedule_id and f.trigger_type = 'scheduled'
            and f.nominal_at > statement_timestamp() - make_interval(secs => s.jitter_seconds)
            and f.due_at > statement_timestamp() and f.reason is distinct from 'schedule_changed'
          order by f.nominal_at) as ahead
"""

OUTDATED = f"""(
    select c.schedule_id from schedule_clock c join agent_run_schedules s on s.id = c.schedule_id
    where c.tzdata_version {{}} :version and c.next_due_at is not null
      and {switched_on("s.agent_id")}
    limit :most)
"""  # noqa: S608 - constants of ours

BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class PostgresClocks:
    """See `services.store_port.ClockRepository`."""

    def __init__(self, connection: Connection, asked_at: float) -> None:
        """`asked_at`: when the transaction was asked for (monotonic, seconds)."""
        self._connection = connection
        self._asked_at = asked_at

    def insert(
        self, schedule_id: str, next_at: tuple[datetime, datetime] | None, tzdata_version: str
    ) -> None:
        """`next_at` is (nominal, due); None when exhausted or paused."""
        nominal, due = next_at or (None, None)
        self._connection.execute(
            text("""
                insert into schedule_clock
                    (schedule_id, next_nominal_at, next_due_at, tzdata_version)
                values (:id, :nominal, :due, :tzdata)
            """),
            {"id": schedule_id, "nominal": nominal, "due": due, "tzdata": tzdata_version},
        )

    def lock(self, schedule_id: str) -> None:
        """Wait for one schedule's mutex. Only API writers wait; ticks and claims skip.

        Errors: Busy, 3 s after the transaction was asked for.
        """
        with patient_for(self._connection, since=self._asked_at):
            self._connection.execute(
                text("select 1 from schedule_clock where schedule_id = :id for update"),
                {"id": schedule_id},
            )

    def set_next(self, schedule_id: str, next_at: tuple[datetime, datetime] | None) -> None:
        """The first (nominal, due) not yet planned; None: nothing is due any more."""
        nominal, due = next_at or (None, None)
        self._connection.execute(
            text("""
                update schedule_clock set next_nominal_at = :nominal, next_due_at = :due
                where schedule_id = :id
            """),
            {"id": schedule_id, "nominal": nominal, "due": due},
        )

    def standing(self, schedule_id: str) -> Standing:
        """Of a schedule whose row the caller holds."""
        row = self._connection.execute(
            text("select next_nominal_at, fire_count from schedule_clock where schedule_id = :id"),
            {"id": schedule_id},
        ).one()
        return Standing(next_nominal_at=row.next_nominal_at, fire_count=row.fire_count)

    def read_due(
        self,
        *,
        since: datetime | None,
        until: datetime,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> Sequence[ClockReading]:
        """Clocks with since <= next_due_at < until, without locks, by (next_due_at, id).

        `after` is the last one already seen, so that one whose lock another holds is passed over.
        """
        # One comparison of rows, and nothing optional beside it: only so does the index lead to the
        # first row wanted, however many schedules are due at one instant. No id is empty.
        after_due, after_id = after or (since or BEFORE_ALL, "")
        rows = self._connection.execute(
            text(
                READING
                + f"""
                where c.next_due_at < :until and {switched_on("s.agent_id")}
                  and (c.next_due_at, c.schedule_id) > (:after_due, :after_id)
                order by c.next_due_at, c.schedule_id limit :most
                """
            ),
            {"until": until, "after_due": after_due, "after_id": after_id, "most": limit},
        )
        return [_reading(row) for row in rows]

    def read(self, schedule_id: str) -> ClockReading | None:
        """One schedule's; None when nothing of it is due any more."""
        row = self._connection.execute(
            text(
                READING
                + f"""
                where c.schedule_id = :id and c.next_due_at is not null
                  and {switched_on("s.agent_id")}
                """
            ),
            {"id": schedule_id},
        ).first()
        return None if row is None else _reading(row)

    def lock_unchanged(self, readings: Iterable[ClockReading]) -> set[str]:
        """Lock those that still stand as they were read; what others hold is left out, and so is
        what is switched off.

        Two statements: a join inside the locking one would read the definition as it was before
        the lock was ours.
        """
        read = {reading.schedule.id: reading for reading in readings}
        locked = self._connection.execute(
            text("""
                select schedule_id, next_nominal_at from schedule_clock
                where schedule_id = any(:ids) order by schedule_id for update skip locked
            """),
            {"ids": sorted(read)},
        )
        standing = [
            row.schedule_id
            for row in locked
            if row.next_nominal_at == read[row.schedule_id].next_nominal_at
        ]
        versions = self._connection.execute(
            text(f"""
                select id, version from agent_run_schedules s
                where id = any(:ids) and {switched_on("s.agent_id")}
            """),  # noqa: S608 - constants of ours
            {"ids": standing},
        )
        return {row.id for row in versions if row.version == read[row.id].schedule.version}

    def advance(self, plans: Sequence[SchedulePlan]) -> None:
        """Set each clock to the first occurrence that its plan did not plan."""
        self._connection.execute(
            text("""
                update schedule_clock c
                set next_nominal_at = x.nominal, next_due_at = x.due
                from unnest(cast(:ids as text[]), cast(:nominals as timestamptz[]),
                            cast(:dues as timestamptz[])) as x (id, nominal, due)
                where c.schedule_id = x.id
            """),
            {
                "ids": [plan.schedule_id for plan in plans],
                "nominals": [plan.next_at and plan.next_at[0] for plan in plans],
                "dues": [plan.next_at and plan.next_at[1] for plan in plans],
            },
        )

    def outdated(self, tzdata_version: str, *, limit: int) -> Sequence[OutdatedClock]:
        """Clocks that stand somewhere and were set under other zone rules, without locks.

        Smaller or larger, not unequal: that is what the index answers, at no cost when there are
        none. Of the fires only those count that the clock made and that are due already.
        """
        rows = self._connection.execute(
            text(
                f"""
                select {READING_COLUMNS}, {ACCOUNTED} {CLOCKS}
                where c.schedule_id in ({OUTDATED.format("<")} union all {OUTDATED.format(">")})
                order by c.schedule_id limit :most
                """
            ),
            {"version": tzdata_version, "most": limit},
        )
        return [
            OutdatedClock(
                reading=_reading(row),
                changed_at=row.changed_at,
                gap_until=row.gap_until,
                last_nominal_at=row.last_nominal_at,
                ahead=tuple(row.ahead),
            )
            for row in rows
        ]

    def set_under(
        self, tzdata_version: str, times: Mapping[str, tuple[datetime, datetime] | None]
    ) -> None:
        """(nominal, due) of clocks whose rows the caller holds."""
        self._connection.execute(
            text("""
                update schedule_clock c
                set next_nominal_at = x.nominal, next_due_at = x.due, tzdata_version = :version
                from unnest(cast(:ids as text[]), cast(:nominals as timestamptz[]),
                            cast(:dues as timestamptz[])) as x (id, nominal, due)
                where c.schedule_id = x.id
            """),
            {
                "version": tzdata_version,
                "ids": list(times),
                "nominals": [at and at[0] for at in times.values()],
                "dues": [at and at[1] for at in times.values()],
            },
        )

    def lock_free(self, schedule_ids: Collection[str]) -> set[str]:
        """Lock those that nobody holds; a claim tries the others again 20 ms later."""
        rows = self._connection.execute(
            text("""
                select schedule_id from schedule_clock
                where schedule_id = any(:ids) order by schedule_id for update skip locked
            """),
            {"ids": sorted(schedule_ids)},
        )
        return set(rows.scalars())

    def lock_all(self, schedule_ids: Collection[str]) -> None:
        """Wait for these rows, in id order."""
        self._connection.execute(
            text("""
                select 1 from schedule_clock where schedule_id = any(:ids)
                order by schedule_id for update
            """),
            {"ids": sorted(schedule_ids)},
        )

    def failures(self, schedule_ids: Collection[str]) -> dict[str, int]:
        """How many fires in a row failed."""
        rows = self._connection.execute(
            text("""
                select schedule_id, consecutive_failures from schedule_clock
                where schedule_id = any(:ids)
            """),
            {"ids": sorted(schedule_ids)},
        )
        return {row.schedule_id: row.consecutive_failures for row in rows}

    def set_failures(self, counts: Mapping[str, int]) -> None:
        """The caller holds the rows."""
        self._connection.execute(
            text("""
                update schedule_clock c set consecutive_failures = x.n
                from unnest(cast(:ids as text[]), cast(:counts as int[])) as x (id, n)
                where c.schedule_id = x.id
            """),
            {"ids": list(counts), "counts": list(counts.values())},
        )

    def count_fires(self, schedule_ids: Sequence[str]) -> Sequence[tuple[str, Gap]]:
        """One more fire for each id listed; the last one allowed stops the clock.

        Returns what stopped clocks that were behind had not come to. It ends at the very instant
        from which on nothing is owed, so no occurrence falls between the two.
        """
        counts = Counter(schedule_ids)
        stopped = self._connection.execute(
            text("""
                with counted as (
                    update schedule_clock c
                    set fire_count = c.fire_count + x.n, last_fire_at = statement_timestamp(),
                        next_nominal_at = case when s.max_fires <= c.fire_count + x.n then null
                            else c.next_nominal_at end,
                        next_due_at = case when s.max_fires <= c.fire_count + x.n then null
                            else c.next_due_at end
                    from unnest(cast(:ids as text[]), cast(:counts as int[])) as x (id, n)
                    join agent_run_schedules s on s.id = x.id
                    join schedule_clock b on b.schedule_id = x.id
                    where c.schedule_id = x.id
                    returning c.schedule_id, c.next_nominal_at as stands_at,
                              c.last_fire_at as at, b.next_nominal_at as stood_at
                )
                select schedule_id, stood_at, at from counted
                where stands_at is null and stood_at < at
            """),
            {"ids": list(counts), "counts": list(counts.values())},
        )
        return [
            (row.schedule_id, Gap(from_at=row.stood_at, to_at=row.at, reason=GapReason.EXHAUSTED))
            for row in stopped
        ]


def _reading(row: Row[tuple[object, ...]]) -> ClockReading:
    return ClockReading(
        schedule=schedule_from(row),
        acp_type=AcpType(row.acp_type),
        next_nominal_at=row.next_nominal_at,
        next_due_at=row.next_due_at,
        skips=frozenset(row.skips),
    )
