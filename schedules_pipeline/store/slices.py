"""Slices: which to emit, and when one is settled."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from schedules_pipeline.domain.emission import OwingSlice
from schedules_pipeline.domain.slices import JOINED_LATER, Slice, SliceKind
from schedules_pipeline.store.news import tell
from schedules_pipeline.store.switches import switched_on

CANDIDATES_PER_TICK = 50
ALIVE = timedelta(seconds=15)
"""How old a standby's last heartbeat may be, one of which is due every 10 s."""


class PostgresSlices:
    """See `services.store_port.SliceRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self, slices: Collection[Slice], now: datetime, *, quietly: bool = False) -> None:
        """Insert those that are new, lock all FOR SHARE in key order, unsettle the settled; tell.

        Whoever settles a slice locks it FOR UPDATE first and then looks for open fires: so either
        it sees the fire that comes now, or we see that it settled, and take that back.
        """
        ordered = sorted(slices, key=lambda s: s.key)
        self._insert(ordered, now)
        keys = {"keys": [s.key for s in ordered]}
        settled = self._lock_opened(keys)
        if any(settled):
            self._connection.execute(
                text("""
                    update slices set settled_at = null
                    where slice_key = any(:keys) and settled_at is not null
                """),
                keys,
            )
        if not quietly:
            self.tell([s.key for s in ordered])

    def _insert(self, ordered: Sequence[Slice], now: datetime) -> None:
        self._connection.execute(
            text("""
                insert into slices (slice_key, kind, starts_at, ends_at, emit_after)
                select *, :now from unnest(
                    cast(:keys as text[]), cast(:kinds as text[]),
                    cast(:starts as timestamptz[]), cast(:ends as timestamptz[]))
                on conflict (slice_key) do nothing
            """),
            {
                "now": now,
                "keys": [s.key for s in ordered],
                "kinds": [s.kind.value for s in ordered],
                "starts": [s.starts_at for s in ordered],
                "ends": [s.ends_at for s in ordered],
            },
        )

    def tell(self, slice_keys: Collection[str]) -> None:
        """Say, on commit, that they have something new."""
        tell(self._connection, slice_keys)

    def _lock_opened(self, keys: dict[str, list[str]]) -> Sequence[bool]:
        """Lock in key order; returns of each whether it is settled.

        Two that both held a settled slice FOR SHARE would wait for each other to unsettle it. So
        where one is seen settled, the lock is the stronger one from the start.
        """
        settled = "select settled_at is not null from slices where slice_key = any(:keys)"
        any_settled = any(self._connection.execute(text(settled), keys).scalars())
        strength = "for no key update" if any_settled else "for share"
        return (
            self._connection.execute(text(f"{settled} order by slice_key {strength}"), keys)
            .scalars()
            .all()
        )

    def provide(self, slices: Collection[Slice], now: datetime) -> None:
        """Insert those that are new. Takes no lock on the others."""
        self._insert(sorted(slices, key=lambda s: s.key), now)

    def standing_by(self, now: datetime) -> Slice | None:
        """The slice whose standby worker takes what is due now; None while there is none.

        The newest hour's that is up: so the next hour's takes over as soon as it is, and the last
        one's goes on for a moment where it is not.
        """
        starts_at = self._connection.execute(
            text("""
                select s.starts_at from dispatches d join slices s using (slice_key)
                where d.finished_at is null and not d.by_person and s.kind = 'now'
                  and d.heartbeat_at >= :now - :alive and s.ends_at > :now - :later
                order by s.starts_at desc limit 1
            """),
            {"now": now, "alive": ALIVE, "later": JOINED_LATER},
        ).scalar()
        return None if starts_at is None else Slice(SliceKind.NOW, starts_at)

    def worked(self, slice_keys: Collection[str]) -> set[str]:
        """Those of them that have a live dispatch."""
        rows = self._connection.execute(
            text("""
                select slice_key from dispatches
                where finished_at is null and slice_key = any(:keys)
            """),
            {"keys": sorted(slice_keys)},
        )
        return set(rows.scalars())

    def owing(
        self, now: datetime, horizon: timedelta, *, standby: bool = False
    ) -> Sequence[OwingSlice]:
        """Those that begin within the horizon, owe something and have no live dispatch.

        With `standby` a slice of kind `now` owes its presence, until its hour is almost over. Owed
        are planned fires, unfinished ones whose dispatch is finished, and the record of those
        that ended. Not owed is what is switched off: no run waits for it, and its slice stays
        unsettled until it is on again.
        """
        rows = self._connection.execute(
            text(f"""
                select s.slice_key, s.kind, s.starts_at, s.emit_count, s.fruitless_count,
                       s.kind in ('minute', 'sync', 'now') and s.ends_at > :now as live,
                       owed.owes_inputs, owed.fire_count, owed.agents
                from slices s
                cross join lateral (
                    select count(*) as fire_count,
                           coalesce(bool_or(f.finished_at is null), false) as owes_inputs,
                           coalesce(array_agg(distinct a.name), '{{}}') as agents
                    from fires f
                    join agents a on a.id = f.agent_id
                    left join dispatches d on d.dagster_run_id = f.claimed_by
                    where f.slice_key = s.slice_key and (
                        (f.finished_at is not null and f.recorded_at is null)
                        or ((f.state = 'planned' or (f.state in ('claimed', 'task_created')
                                                     and d.finished_at is not null))
                            and {switched_on("f.agent_id")}))
                ) owed
                where s.settled_at is null
                  and s.starts_at <= :until
                  and s.emit_after <= :now
                  and (owed.fire_count > 0
                       or (:standby and s.kind = 'now' and s.ends_at > :until))
                  and not exists (
                      select 1 from dispatches d
                      where d.slice_key = s.slice_key and d.finished_at is null)
                order by live desc, owed.owes_inputs desc, s.starts_at, s.slice_key
                limit :most
            """),  # noqa: S608 - constants of ours
            {
                "now": now,
                "until": now + horizon,
                "standby": standby,
                "most": CANDIDATES_PER_TICK,
            },
        )
        return [
            OwingSlice(
                key=row.slice_key,
                kind=row.kind,
                live=row.live,
                starts_at=row.starts_at,
                owes_inputs=row.owes_inputs,
                emit_count=row.emit_count,
                fruitless_count=row.fruitless_count,
                fire_count=row.fire_count,
                agents=tuple(row.agents),
            )
            for row in rows
        ]

    def next_emission(self, now: datetime, horizon: timedelta) -> datetime | None:
        """When the next unsettled slice may be emitted that may not be now."""
        found: datetime | None = self._connection.execute(
            text("""
                select min(greatest(starts_at - :horizon, emit_after)) from slices
                where settled_at is null and greatest(starts_at - :horizon, emit_after) > :now
            """),
            {"now": now, "horizon": horizon},
        ).scalar_one()
        return found

    def mark_emitted(self, slice_key: str, emit_after: datetime) -> None:
        """Not again before `emit_after`, unless its run ends sooner."""
        self._connection.execute(
            text("""
                update slices set emit_after = :emit_after, emit_count = emit_count + 1,
                    fruitless_count = fruitless_count + 1
                where slice_key = :key
            """),
            {"key": slice_key, "emit_after": emit_after},
        )

    def hasten(self, slice_keys: Collection[str], now: datetime) -> None:
        """The first re-emission after a run ended is at once; later ones keep their distance.

        A run that ended or recorded a fire before it died makes the next one the first again: so
        a slice whose runs are killed, one after another, is not given up for minutes. Of a standby
        to have stood there is work enough.
        """
        self._connection.execute(
            text("""
                with lasts as (
                    select distinct on (slice_key) slice_key, started_at, heartbeat_at
                    from dispatches where slice_key = any(:keys) order by slice_key, started_at desc
                ), fruitful as (
                    select l.slice_key from lasts l join slices s using (slice_key)
                    where (s.kind = 'now' and l.heartbeat_at > l.started_at) or exists (
                        select 1 from fires f
                        where f.slice_key = l.slice_key
                          and greatest(f.finished_at, f.recorded_at) >= l.started_at)
                )
                update slices s
                set emit_after = least(s.emit_after, :now),
                    fruitless_count = case when p.slice_key is null then s.fruitless_count
                                      else 0 end
                from unnest(cast(:keys as text[])) as k (slice_key)
                left join fruitful p on p.slice_key = k.slice_key
                where s.slice_key = k.slice_key and s.settled_at is null
                  and (s.fruitless_count = 1 or p.slice_key is not null)
            """),
            {"keys": sorted(slice_keys), "now": now},
        )

    def unsettled(self) -> Collection[str]:
        """Keys of the slices that are not over."""
        rows = self._connection.execute(
            text("select slice_key from slices where settled_at is null")
        )
        return set(rows.scalars())

    def crowded(self, most: int) -> Slice | None:
        """The newest slice of synchronous agents, if so many of them are being worked."""
        rows = self._connection.execute(
            text("""
                select distinct s.starts_at from dispatches d join slices s using (slice_key)
                where d.finished_at is null and s.kind = 'sync'
                order by s.starts_at desc limit :most
            """),
            {"most": most},
        ).all()
        return Slice(SliceKind.SYNC, rows[0].starts_at) if len(rows) == most else None

    def over_but_open(self, now: datetime, limit: int) -> Sequence[str]:
        """Keys of unsettled slices whose time is over and that hold nothing open, oldest first."""
        return list(
            self._connection.execute(
                text("""
                    select slice_key from slices s
                    where settled_at is null and ends_at <= :now
                      and not exists (
                          select 1 from dispatches d
                          where d.slice_key = s.slice_key and d.finished_at is null)
                      and not exists (
                          select 1 from fires f
                          where f.slice_key = s.slice_key and f.recorded_at is null
                        and f.state <> 'waiting')
                    order by starts_at, slice_key limit :most
                """),
                {"now": now, "most": limit},
            ).scalars()
        )

    def settle(self, slice_keys: Collection[str]) -> None:
        """Settle those whose time is over and which hold nothing open.

        Two statements: the second must see what those who held the row FOR SHARE committed.
        """
        keys = {"keys": sorted(slice_keys)}
        self._connection.execute(
            text("""
                select 1 from slices where slice_key = any(:keys) and settled_at is null
                order by slice_key for update
            """),
            keys,
        )
        self._connection.execute(
            text("""
                update slices s set settled_at = statement_timestamp()
                where s.slice_key = any(:keys) and s.settled_at is null
                  and s.ends_at <= statement_timestamp()
                  and not exists (
                      select 1 from fires f
                      where f.slice_key = s.slice_key and f.recorded_at is null
                        and f.state <> 'waiting')
            """),
            keys,
        )
