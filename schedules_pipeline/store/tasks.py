"""Tasks of the local platform: one row per name, whoever asks and how often."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.conversation_port import Span, TaskFilter, TaskOrder
from schedules_pipeline.services.stored import StoredTask, TaskRow

COLUMNS = """
    id, name, agent_id, status, status_reason, params, task_metadata, created_at, updated_at
"""
STOPPED = "Stopped for a later run of its schedule"
WITHDRAWN = "The schedule's creator may not start it"
# What the status reason of a task says that was made by hand: has its agent been told of it?
TELLING = "Task created, forwarding to ACP server"
TOLD = "Task forwarded to ACP server"
UNTOLD = "The agent was not told of it: "


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
                       x.params, x.task_metadata
                from jsonb_to_recordset(cast(:tasks as jsonb))
                    as x (id text, name text, agent_id text, params jsonb, task_metadata jsonb)
                on conflict (name) do nothing
            """),
            # One document: arrays of documents are written as text in text, which costs more than
            # the rest of a claim's statements together.
            {"tasks": _json([_document(task) for task in tasks])},
        )

    def create_by_hand(self, task: TaskRow) -> bool:
        """One task; False when its id or its name is taken, so that it is there already."""
        made = self._connection.execute(
            text("""
                insert into tasks (id, name, agent_id, status_reason, params, task_metadata)
                values (:id, :name, :agent_id, :telling, nullif(cast(:params as jsonb), 'null'),
                        cast(:metadata as jsonb))
                on conflict do nothing
            """),
            {
                "id": task.id,
                "name": task.name,
                "agent_id": task.agent_id,
                "telling": TELLING,
                "params": _json(task.params),
                "metadata": _json(task.task_metadata),
            },
        )
        return made.rowcount == 1

    def get(self, task_id: str) -> StoredTask | None:
        """One task."""
        return self._one(f"select {COLUMNS} from tasks where id = :key", key=task_id)  # noqa: S608

    def get_by_name(self, name: str) -> StoredTask | None:
        """One task, by its name."""
        return self._one(f"select {COLUMNS} from tasks where name = :key", key=name)  # noqa: S608

    def hold(self, task_id: str) -> StoredTask | None:
        """The task, locked until the transaction ends."""
        return self._one(
            f"select {COLUMNS} from tasks where id = :key for no key update",  # noqa: S608
            key=task_id,
        )

    def list(self, wanted: TaskFilter, order: TaskOrder, span: Span) -> Sequence[StoredTask]:
        """One page of them. Only what is asked for is a condition, so that an index can serve."""
        conditions = {
            "agent_id = :agent_id": wanted.agent_id,
            "agent_id = (select id from agents where name = :agent_name)": wanted.agent_name,
            "status = :status": wanted.status,
            "task_metadata @> cast(:metadata as jsonb)": wanted.task_metadata,
            "id = any(:only)": wanted.only,
        }
        asked = [condition for condition, value in conditions.items() if value is not None]
        rows = self._connection.execute(
            text(f"""
                select {COLUMNS} from tasks where {" and ".join(asked or ["true"])}
                order by {order.value} {span.direction.value}, id limit :limit offset :offset
            """),  # noqa: S608 - constants of ours
            {
                "agent_id": wanted.agent_id,
                "agent_name": wanted.agent_name,
                "status": wanted.status,
                "metadata": _json(wanted.task_metadata),
                "only": sorted(wanted.only or ()),
                "limit": span.limit,
                "offset": span.offset,
            },
        )
        return [StoredTask(**row._mapping) for row in rows]

    def ids_of_agent(self, agent_id: str) -> Collection[str]:
        """All tasks of this agent."""
        rows = self._connection.execute(
            text("select id from tasks where agent_id = :agent_id"), {"agent_id": agent_id}
        )
        return rows.scalars().all()

    def update(
        self, task_id: str, *, task_metadata: JsonObject | None, merge_params: JsonObject | None
    ) -> StoredTask | None:
        """One statement, so that of two that merge at once both are in the end there."""
        return self._one(
            f"""
            update tasks
            set task_metadata = coalesce(nullif(cast(:metadata as jsonb), 'null'), task_metadata),
                params = case when cast(:params as jsonb) = 'null' then params
                              else coalesce(params, '{{}}') || cast(:params as jsonb) end,
                updated_at = statement_timestamp()
            where id = :key
            returning {COLUMNS}
            """,  # noqa: S608 - a constant of ours
            key=task_id,
            metadata=_json(task_metadata),
            params=_json(merge_params),
        )

    def set_params(self, task_id: str, params: JsonObject) -> StoredTask | None:
        """All its parameters anew."""
        return self._one(
            f"""
            update tasks set params = cast(:params as jsonb), updated_at = statement_timestamp()
            where id = :key
            returning {COLUMNS}
            """,  # noqa: S608 - a constant of ours
            key=task_id,
            params=_json(params),
        )

    def note_told(self, task_id: str) -> StoredTask | None:
        """A task that failed because its agent was not told goes on. Whoever moved it is right."""
        self._connection.execute(
            text("""
                update tasks
                set status = 'RUNNING', status_reason = :told, updated_at = statement_timestamp()
                where id = :id and moved_at is null
                  and (status_reason = :telling
                       or status = 'FAILED' and starts_with(status_reason, :untold))
            """),
            {"id": task_id, "told": TOLD, "telling": TELLING, "untold": UNTOLD},
        )
        return self.get(task_id)

    def note_untold(self, task_id: str, why: str) -> None:
        """Another call may have told the agent meanwhile; then it is not true, and not written."""
        self._connection.execute(
            text("""
                update tasks
                set status = 'FAILED', status_reason = :why, updated_at = statement_timestamp()
                where id = :id and moved_at is null and status = 'RUNNING'
                  and status_reason = :telling
            """),
            {"id": task_id, "why": UNTOLD + why, "telling": TELLING},
        )

    def resume(self, task_id: str) -> None:
        """An interrupted one goes on."""
        self._connection.execute(
            text("""
                update tasks
                set status = 'RUNNING', status_reason = null, updated_at = statement_timestamp()
                where id = :id and status = 'INTERRUPTED'
            """),
            {"id": task_id},
        )

    def move(
        self, task_id: str, status: str, reason: str | None, *, by_its_agent: bool
    ) -> StoredTask | None:
        """Give it another status; None when it is final, or no task at all."""
        return self._one(
            f"""
            update tasks
            set status = :status, status_reason = :reason, updated_at = statement_timestamp(),
                moved_at = case when :by_its_agent then statement_timestamp() else moved_at end
            where id = :key and status in ('RUNNING', 'INTERRUPTED')
            returning {COLUMNS}
            """,  # noqa: S608 - a constant of ours
            key=task_id,
            status=status,
            reason=reason,
            by_its_agent=by_its_agent,
        )

    def _one(self, statement: str, **parameters: Any) -> StoredTask | None:
        row = self._connection.execute(text(statement), parameters).first()
        return None if row is None else StoredTask(**row._mapping)

    def moved_by_agents(self, fire_ids: Collection[str]) -> set[str]:
        """Those of the fires whose agents moved their task since the input could go out.

        What was moved before `task_created` was committed came of task/create, or of an earlier
        drive. What people write into a task, and that we stopped it, says nothing of its agent.
        """
        rows = self._connection.execute(
            text("""
                select f.id from fires f join tasks t on t.id = f.task_id
                where f.id = any(:ids) and t.moved_at > f.task_created_at
            """),
            {"ids": sorted(fire_ids)},
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


def _document(task: TaskRow) -> JsonObject:
    return {
        "id": task.id,
        "name": task.name,
        "agent_id": task.agent_id,
        "params": task.params,
        "task_metadata": task.task_metadata,
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
