"""Tasks of the local platform: one row per name, whoever asks and how often."""

import json
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, text

from schedules_pipeline.services.store_port import StoredTask, TaskRow

COLUMNS = """
    id, name, agent_id, status, status_reason, params, task_metadata, created_at, updated_at
"""
STOPPED = "Stopped for a later run of its schedule"
WITHDRAWN = "The schedule's creator may not start it"


class PostgresTasks:
    """See `services.store_port.TaskRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, tasks: Sequence[TaskRow]) -> None:
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

    def get(self, task_id: str) -> StoredTask | None:
        """One task."""
        return self._one(f"select {COLUMNS} from tasks where id = :key", key=task_id)  # noqa: S608

    def get_by_name(self, name: str) -> StoredTask | None:
        """One task, by its name."""
        return self._one(f"select {COLUMNS} from tasks where name = :key", key=name)  # noqa: S608

    def move(self, task_id: str, status: str, reason: str | None) -> StoredTask | None:
        """Give it another status; None when it is final, or no task at all."""
        return self._one(
            f"""
            update tasks
            set status = :status, status_reason = :reason, updated_at = statement_timestamp()
            where id = :key and status in ('RUNNING', 'INTERRUPTED')
            returning {COLUMNS}
            """,  # noqa: S608 - a constant of ours
            key=task_id,
            status=status,
            reason=reason,
        )

    def _one(self, statement: str, **parameters: str | None) -> StoredTask | None:
        row = self._connection.execute(text(statement), parameters).first()
        return None if row is None else StoredTask(**row._mapping)

    def moved_by_agents(self, fire_ids: Collection[str]) -> set[str]:
        """Those of the fires whose task moved since their input could go out, and not by us.

        What was moved before `task_created` was committed came of task/create, or of an earlier
        drive. That we stopped a task says nothing of its agent.
        """
        rows = self._connection.execute(
            text("""
                select f.id from fires f join tasks t on t.id = f.task_id
                where f.id = any(:ids) and t.updated_at > f.task_created_at
                  and t.updated_at > t.created_at and t.status_reason is distinct from :stopped
            """),
            {"ids": sorted(fire_ids), "stopped": STOPPED},
        )
        return set(rows.scalars())

    def not_final(self, task_ids: Collection[str]) -> set[str]:
        """Those of them that are at work, or were interrupted."""
        rows = self._connection.execute(
            text("""
                select id from tasks
                where id = any(:ids) and status in ('RUNNING', 'INTERRUPTED')
            """),
            {"ids": sorted(task_ids)},
        )
        return set(rows.scalars())

    def withdraw(self, fire_ids: Collection[str]) -> None:
        """The tasks of these fires get no input: they are cancelled, unless they are final."""
        self._connection.execute(
            text("""
                update tasks t
                set status = 'CANCELED', updated_at = statement_timestamp(),
                    status_reason = :withdrawn
                from fires f
                where f.id = any(:ids) and t.id = f.task_id
                  and t.status in ('RUNNING', 'INTERRUPTED')
            """),
            {"ids": sorted(fire_ids), "withdrawn": WITHDRAWN},
        )

    def stop(self, task_ids: Mapping[str, str]) -> None:
        """Their agents are told to stop: each (the key) gets its new status, unless it is final."""
        self._connection.execute(
            text("""
                update tasks t
                set status = x.status, updated_at = statement_timestamp(),
                    status_reason = :stopped
                from unnest(cast(:ids as text[]), cast(:statuses as text[])) as x (id, status)
                where t.id = x.id and t.status in ('RUNNING', 'INTERRUPTED')
            """),
            {
                "ids": list(task_ids),
                "statuses": list(task_ids.values()),
                "stopped": STOPPED,
            },
        )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
