"""Dispatches: Dagster runs at work on slices. A dispatch dies once."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, text

from schedules_pipeline.errors import DispatchEnded
from schedules_pipeline.services.stored import EndedRun


class PostgresDispatches:
    """See `services.store_port.DispatchRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(
        self, dagster_run_id: str, slice_key: str, *, by_person: bool, host: str, pid: int
    ) -> bool:
        """False when there is no such slice, the run was already declared ended, or another process
        works it: what a run claimed is its own to claim again, so it must be one process.

        Done again by the same process (the answer to the first was lost), it is True again.
        """
        return (
            self._connection.execute(
                text("""
                    insert into dispatches (dagster_run_id, slice_key, by_person, host, pid)
                    select :run, slice_key, :by_person, :host, :pid
                    from slices where slice_key = :key
                    on conflict (dagster_run_id) do update
                    set heartbeat_at = statement_timestamp()
                    where dispatches.finished_at is null
                      and dispatches.slice_key = excluded.slice_key
                      and dispatches.host = excluded.host and dispatches.pid = excluded.pid
                    returning 1
                """),
                {
                    "run": dagster_run_id,
                    "key": slice_key,
                    "by_person": by_person,
                    "host": host,
                    "pid": pid,
                },
            ).first()
            is not None
        )

    def require_live(self, dagster_run_id: str) -> None:
        """Lock the row FOR SHARE: until we commit, nobody can declare this run dead."""
        live = self._connection.execute(
            text("""
                select 1 from dispatches where dagster_run_id = :run and finished_at is null
                for share
            """),
            {"run": dagster_run_id},
        ).first()
        if live is None:
            raise DispatchEnded(
                f"Dagster run {dagster_run_id} was declared ended; its fires are another run's."
            )

    def heartbeat(self, dagster_run_id: str) -> bool:
        """False once the dispatch is finished."""
        return (
            self._connection.execute(
                text("""
                    update dispatches set heartbeat_at = statement_timestamp()
                    where dagster_run_id = :run and finished_at is null returning 1
                """),
                {"run": dagster_run_id},
            ).first()
            is not None
        )

    def finish(self, dagster_run_id: str) -> None:
        """Said by the run itself: it will write nothing more."""
        self._connection.execute(
            text("""
                update dispatches set finished_at = statement_timestamp()
                where dagster_run_id = :run and finished_at is null
            """),
            {"run": dagster_run_id},
        )

    def finish_ended(self, runs: Collection[EndedRun]) -> dict[str, str]:
        """Finish what Dagster says ended; insert, as finished, what never came to begin.

        Acted on once: only rows that this call changed count. Returns their slice keys, by run.
        """
        ordered = sorted(runs, key=lambda r: r.dagster_run_id)
        rows = self._connection.execute(
            text("""
                insert into dispatches (dagster_run_id, slice_key, host, pid, finished_at)
                select e.run, s.slice_key, '', 0, statement_timestamp()
                from unnest(cast(:runs as text[]), cast(:keys as text[])) as e (run, key)
                join slices s on s.slice_key = e.key
                on conflict (dagster_run_id) do update set finished_at = excluded.finished_at
                where dispatches.finished_at is null
                returning dagster_run_id, slice_key
            """),
            {
                "runs": [r.dagster_run_id for r in ordered],
                "keys": [r.slice_key for r in ordered],
            },
        )
        return {row.dagster_run_id: row.slice_key for row in rows}

    def beating(self, dagster_run_ids: Collection[str], since: datetime) -> set[str]:
        """Those that had a heartbeat since then."""
        rows = self._connection.execute(
            text("""
                select dagster_run_id from dispatches
                where dagster_run_id = any(:runs) and heartbeat_at >= :since
            """),
            {"runs": sorted(dagster_run_ids), "since": since},
        )
        return set(rows.scalars())

    def declare_dead(self, silent_since: datetime) -> set[str]:
        """Finish those without a heartbeat since then; returns their slice keys."""
        rows = self._connection.execute(
            text("""
                update dispatches set finished_at = statement_timestamp()
                where finished_at is null and heartbeat_at < :since
                returning slice_key
            """),
            {"since": silent_since},
        )
        return set(rows.scalars())
