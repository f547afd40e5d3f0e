"""A world behind `SCHEDULES_AUTH`: two of everything, and whoever may ask for it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from fastapi import FastAPI

from schedules_pipeline.api.dependencies import UseCases
from schedules_pipeline.delivery.provider import ProviderClient
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.services.backfilling import BackfillOrder
from schedules_pipeline.services.conversation_port import NewMessage
from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.services.registering import AgentDraft
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.settings import Auth, Settings
from schedules_pipeline.wiring import Wiring
from tests.factories import a_draft
from tests.ledger import database_now, insert_rows
from tests.provider import StubProvider

SAID = {"type": "text", "author": "user", "content": "a secret"}
Place = tuple[str, str]
"""A route: its method and its path, with the names of its values."""


@dataclass(frozen=True)
class Things:
    """One of each kind, all of one agent; values for the path of any route."""

    agent_id: str
    agent_key: str
    schedule_id: str
    task_id: str
    values: Mapping[str, str]

    def selector(self, kind: str) -> str:
        """What the provider calls it."""
        return {
            "agent": self.agent_id,
            "schedule": f"run-schedule::{self.agent_id}::{self.schedule_id}",
            "task": self.task_id,
        }[kind]


@contextmanager
def guarded(app: FastAPI, database_url: str, **settings: Any) -> Iterator[Wiring]:
    """The application asks who asks."""
    with _served(app, Wiring(Settings(database_url=database_url, **settings))) as wiring:
        yield wiring


@contextmanager
def asking(app: FastAPI, database_url: str, provider: StubProvider) -> Iterator[Wiring]:
    """The application asks a provider, and waits: a busy machine is no defect."""
    settings = Settings(database_url=database_url, auth=Auth.AGENTEX, auth_url=provider.url)
    wiring = Wiring(settings)
    wiring._provider = ProviderClient(provider.url, seconds=20)
    with _served(app, wiring):
        yield wiring


@contextmanager
def _served(app: FastAPI, wiring: Wiring) -> Iterator[Wiring]:
    app.state.use_cases = UseCases.of(wiring)
    try:
        yield wiring
    finally:
        wiring.close()


def a_key(wiring: Wiring, role: Role, principal: str | None = None) -> dict[str, str]:
    """The header of a new principal's key, as the published client sends it."""
    made = wiring.keys.create(principal or f"{role}-{uuid4()}", role, None)
    return {"authorization": f"Bearer {made.key}"}


def some_things(wiring: Wiring) -> Things:
    """An agent with a schedule, a fire, a backfill and a task with an event and a message, none of
    them anybody's.
    """
    unique = uuid4().hex
    agent = wiring.agents.register(
        AgentDraft(
            name=f"agent-{unique}",
            description="",
            acp_url="http://127.0.0.1:9",
            acp_type=AcpType.ASYNC,
        )
    )
    schedule = wiring.schedules.create(agent.id, a_draft(name=f"schedule-{unique}"), {}).schedule
    now = database_now(wiring.store)
    order = BackfillOrder(from_at=now - timedelta(hours=2), to_at=now - timedelta(seconds=1))
    backfill = wiring.backfills.start(agent.id, schedule.id, order, {})
    fire_id = Triggers(wiring.store).trigger(agent.id, schedule.id)
    task = {"id": f"task-{unique}", "name": f"named/{unique}", "agent_id": agent.id}
    insert_rows(wiring.store, "tasks", [task])
    event_id, message_id = f"event-{unique}", f"message-{unique}"
    message = NewMessage(id=message_id, task_id=task["id"], content=SAID)
    wiring.store.run(lambda tx: tx.events.insert(event_id, task["id"], agent.id, SAID))
    wiring.store.run(lambda tx: tx.messages.insert([message]))
    return Things(
        agent_id=agent.id,
        agent_key=agent.api_key,
        schedule_id=schedule.id,
        task_id=task["id"],
        values={
            "agent_id": agent.id,
            "agent_name": agent.name,
            "schedule_id": schedule.id,
            "name": schedule.name,
            "fire_id": fire_id,
            "backfill_id": backfill.id,
            "task_id": task["id"],
            "task_name": task["name"],
            "event_id": event_id,
            "message_id": message_id,
        },
    )
