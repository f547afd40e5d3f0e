"""Agents of the local platform."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from schedules_pipeline.domain.schedule import Agent
from schedules_pipeline.services.conversation_port import AgentFilter, AgentOrder, Span
from schedules_pipeline.store.rows import AGENT_COLUMNS, agent_from

INSERT = f"""
    insert into agents as a
        (id, name, description, acp_type, acp_url, status, api_key, registration_metadata,
         agent_input_type, created_at, updated_at, registered_at)
    values (:id, :name, :description, :acp_type, :acp_url, :status, :api_key,
            cast(:metadata as jsonb), :input_type, :now, :now, :now)
    on conflict do nothing
    returning {AGENT_COLUMNS}
"""  # noqa: S608 - a constant of ours

UPDATE = f"""
    update agents a
    set description = :description, acp_type = :acp_type, acp_url = :acp_url, status = :status,
        registration_metadata = cast(:metadata as jsonb), agent_input_type = :input_type,
        updated_at = :now, registered_at = :now
    where a.name = :name
    returning {AGENT_COLUMNS}
"""  # noqa: S608 - a constant of ours

GET = text(
    f"select {AGENT_COLUMNS}, statement_timestamp() as seen_at from agents a where a.id = :id"  # noqa: S608
)


class PostgresAgents:
    """See `services.store_port.AgentRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def register(self, agent: Agent) -> Agent | None:
        """Insert, or update the agent of that name; its id, key and creation stay what they were.

        None when another agent, of another name, has that id. Two statements, for two constraints
        may object: whichever did, the second statement sees what the winner committed.
        """
        values = _values(agent)
        row = self._connection.execute(text(INSERT), values).first()
        if row is None:
            row = self._connection.execute(text(UPDATE), values).first()
        return None if row is None else agent_from(row)

    def get(self, agent_id: str) -> tuple[Agent, datetime] | None:
        """The agent and the database's clock, with one statement; None when there is none."""
        row = self._connection.execute(GET, {"id": agent_id}).first()
        return None if row is None else (agent_from(row), row.seen_at)

    def get_by_name(self, name: str) -> Agent | None:
        """None when there is no such agent."""
        row = self._connection.execute(
            text(f"select {AGENT_COLUMNS} from agents a where a.name = :name"),  # noqa: S608
            {"name": name},
        ).first()
        return None if row is None else agent_from(row)

    def get_by_key_hash(self, key_hash: str) -> Agent | None:
        """The agent that was given the key with this SHA-256 (hex), unless it is deleted.

        Hashes are compared, not keys: how long it takes says nothing about a key.
        """
        row = self._connection.execute(
            text(f"""
                select {AGENT_COLUMNS} from agents a
                where sha256(convert_to(a.api_key, 'UTF8')) = decode(:hash, 'hex')
                  and a.status <> 'Deleted'
            """),  # noqa: S608 - a constant of ours
            {"hash": key_hash},
        ).first()
        return None if row is None else agent_from(row)

    def find(self, agent_ids: Collection[str]) -> Mapping[str, Agent]:
        """Those of them that there are, by id."""
        rows = self._connection.execute(
            text(f"select {AGENT_COLUMNS} from agents a where a.id = any(:ids)"),  # noqa: S608
            {"ids": sorted(agent_ids)},
        )
        return {row.agent_id: agent_from(row) for row in rows}

    def list(self, wanted: AgentFilter, order: AgentOrder, span: Span) -> Sequence[Agent]:
        """One page of them."""
        rows = self._connection.execute(
            text(f"""
                select {AGENT_COLUMNS} from agents a
                where (cast(:task_id as text) is null
                       or a.id = (select t.agent_id from tasks t where t.id = :task_id))
                  and (cast(:card as jsonb) = 'null' or
                       a.registration_metadata #> '{{agent_card,metadata}}' @> cast(:card as jsonb))
                  and (cast(:only as text[]) is null or a.id = any(:only))
                order by a.{order.value} {span.direction.value}, a.id
                limit :limit offset :offset
            """),  # noqa: S608 - constants of ours
            {
                "task_id": wanted.task_id,
                "card": json.dumps(wanted.card),
                "only": None if wanted.only is None else sorted(wanted.only),
                "limit": span.limit,
                "offset": span.offset,
            },
        )
        return [agent_from(row) for row in rows]


def _values(agent: Agent) -> dict[str, object]:
    metadata = agent.registration_metadata
    return {
        "id": agent.id,
        "name": agent.name,
        "description": agent.description,
        "acp_type": agent.acp_type.value,
        "acp_url": agent.acp_url,
        "status": agent.status.value,
        "api_key": agent.api_key,
        "metadata": None if metadata is None else json.dumps(metadata),
        "input_type": agent.agent_input_type,
        "now": agent.registered_at,
    }
