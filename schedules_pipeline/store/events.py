"""Events: inputs that were sent to agents by hand, and those of fires as the ledger has them."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.conversation_port import FireEvent, StoredEvent

COLUMNS = "id, sequence_id, task_id, agent_id, content, created_at"

# A fire's input, as it was put under the version of the schedule that it was claimed under. Tasks
# have a fire's id in their name. Needs :task_id.
INPUT_OF_FIRE = """
    from tasks t
    join fires f on f.id = substring(t.name from '^scheduled-run:[^:]*:(.*)$') and f.task_id = t.id
    join agents a on a.id = t.agent_id
    cross join lateral (
        select jsonb_build_object(
            'type', 'text', 'author', c.after #>> '{initial_input,author}', 'style', 'static',
            'format', 'plain', 'content', c.after #>> '{initial_input,content}',
            'attachments', null) as content
        from schedule_changes c
        where c.schedule_id = f.schedule_id and c.version = f.schedule_version
          and c.after is not null
        order by c.id desc limit 1
    ) as said
    where t.id = :task_id and f.task_created_at is not null
"""


class PostgresEvents:
    """See `services.conversation_port.EventRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(
        self, event_id: str, task_id: str, agent_id: str, content: JsonObject | None
    ) -> StoredEvent:
        """The caller holds the task, so that a task's numbers become visible in their order."""
        found = self._one(
            f"""
            insert into events (id, task_id, agent_id, content)
            values (:id, :task_id, :agent_id, nullif(cast(:content as jsonb), 'null'))
            on conflict (id) do nothing returning {COLUMNS}
            """,  # noqa: S608 - a constant of ours
            id=event_id,
            task_id=task_id,
            agent_id=agent_id,
            content=json.dumps(content),
        ) or self.get(event_id)
        assert found is not None, "whoever was first has committed it"
        return found

    def get(self, event_id: str) -> StoredEvent | None:
        """One that was sent by hand."""
        return self._one(f"select {COLUMNS} from events where id = :id", id=event_id)  # noqa: S608

    def after(
        self, task_id: str, agent_id: str, sequence_id: int, *, limit: int
    ) -> Sequence[StoredEvent]:
        """In order, those with a higher number."""
        rows = self._connection.execute(
            text(f"""
                select {COLUMNS} from events
                where task_id = :task_id and agent_id = :agent_id and sequence_id > :after
                order by sequence_id limit :limit
            """),  # noqa: S608 - a constant of ours
            {"task_id": task_id, "agent_id": agent_id, "after": sequence_id, "limit": limit},
        )
        return [StoredEvent(**row._mapping) for row in rows]

    def of_fire(self, task_id: str) -> FireEvent | None:
        """None: the task is no fire's, its agent takes no events, or nothing may have gone out."""
        row = self._connection.execute(
            text(f"""
                select f.idempotency_key, f.redrive_count + 1 as sequence_id, t.id as task_id,
                       t.agent_id, said.content, t.created_at
                {INPUT_OF_FIRE} and a.acp_type <> 'sync'
            """),
            {"task_id": task_id},
        ).first()
        return None if row is None else FireEvent(**row._mapping)

    def _one(self, statement: str, **parameters: Any) -> StoredEvent | None:
        row = self._connection.execute(text(statement), parameters).first()
        return None if row is None else StoredEvent(**row._mapping)
