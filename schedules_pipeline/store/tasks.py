"""Tasks of the local platform: one row per name, whoever asks and how often."""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from schedules_pipeline.services.store_port import TaskRow


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

    def moved_since(self, task_id: str, since: datetime) -> bool:
        """Whether its agent has touched it. We write a task's row once, when it is made."""
        return (
            self._connection.execute(
                text("""
                    select 1 from tasks
                    where id = :id and updated_at > :since and updated_at > created_at
                """),
                {"id": task_id, "since": since},
            ).first()
            is not None
        )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
