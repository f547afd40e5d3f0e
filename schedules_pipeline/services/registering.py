"""Agents: who can be given tasks."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from schedules_pipeline.domain.schedule import AcpType, Agent, AgentStatus, JsonObject
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.conversation_port import AgentFilter, AgentOrder, Span
from schedules_pipeline.services.store_port import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDraft:
    """What an agent says of itself. `id` is what it would like to be called, if it is new."""

    name: str
    description: str
    acp_url: str
    acp_type: AcpType
    id: str | None = None
    registration_metadata: JsonObject | None = None
    agent_input_type: str | None = None


class Agents:
    """The agents of the local platform."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def register(self, draft: AgentDraft) -> Agent:
        """Make the agent known, or update what is known of the agent of that name.

        Errors: Rejected when the id it asks for is another agent's.
        """
        return self._store.run(lambda tx: _register(tx, draft))

    def get(self, agent_id: str) -> Agent:
        """Errors: NotFound."""
        return self._store.run(lambda tx: require_agent(tx, agent_id))

    def get_by_name(self, name: str) -> Agent:
        """Errors: NotFound."""
        agent = self._store.run(lambda tx: tx.agents.get_by_name(name))
        if agent is None:
            raise NotFound(f"Item with name '{name}' does not exist.")
        return agent

    def list(self, wanted: AgentFilter, order: AgentOrder, span: Span) -> Sequence[Agent]:
        """One page of them."""
        return self._store.run(lambda tx: tx.agents.list(wanted, order, span))


def require_agent(tx: Transaction, agent_id: str) -> Agent:
    """Errors: NotFound, in the contract's words."""
    return require_agent_now(tx, agent_id)[0]


def require_agent_now(tx: Transaction, agent_id: str) -> tuple[Agent, datetime]:
    """The agent and the database's clock. Errors: NotFound, in the contract's words."""
    found = tx.agents.get(agent_id)
    if found is None:
        raise NotFound(f"Item with id '{agent_id}' does not exist.")
    return found


def _register(tx: Transaction, draft: AgentDraft) -> Agent:
    agent = tx.agents.register(_agent(draft, tx.now()))
    if agent is None:
        raise Rejected(
            f"Agent id '{draft.id}' belongs to an agent of another name; "
            "leave agent_id out, or register under that name."
        )
    return agent


def _agent(draft: AgentDraft, now: datetime) -> Agent:
    return Agent(
        id=draft.id or str(uuid4()),
        name=draft.name,
        description=draft.description,
        acp_type=draft.acp_type,
        acp_url=draft.acp_url,
        status=AgentStatus.READY,
        api_key=secrets.token_urlsafe(32),
        registration_metadata=draft.registration_metadata,
        agent_input_type=draft.agent_input_type,
        created_at=now,
        updated_at=now,
        registered_at=now,
    )
