"""What the use cases need from outside, as protocols. `store/` and `delivery/` provide it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schedules_pipeline.domain.schedule import Agent, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The agent platform's unit of work, as the agent sees it."""

    id: str
    name: str
    agent_id: str
    status: str
    params: JsonObject | None
    task_metadata: JsonObject
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One claimed fire, ready to be told to its agent."""

    fire_id: str
    agent: Agent
    task: Task
    input_author: str
    input_content: str
    idempotency_key: str
    event_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A task whose agent is to be told to stop working on it."""

    agent: Agent
    task: Task


class AgentPlatform(Protocol):
    """Where tasks are made and inputs are delivered.

    The calls raise `errors.DeliveryError` (one of its leaves) and nothing else for whatever an
    agent does; none retries.
    """

    def expect(self, inputs: Sequence[tuple[Agent, int]]) -> None:
        """So many inputs for each agent are due within a second or so. Returns at once.

        A hint: what is done upon it must not fail anything.
        """

    async def create_task(self, assignment: Assignment) -> None:
        """Tell the agent of its task. May be repeated: the task's id is the same each time."""

    async def send_input(self, assignment: Assignment) -> str | None:
        """Deliver the input. Returns the beginning of a synchronous agent's answer, if any."""

    async def shows_input(self, assignment: Assignment) -> bool:
        """Whether the *agent* shows that it has the input: it moved its task since that went out.

        What it did before, and what we wrote ourselves, proves nothing. False when nothing shows
        it, or no platform can tell; the one error is Unavailable: our own database is away.
        """

    async def stop_task(self, stop: Stop) -> None:
        """Tell the agent to stop. What it makes of that is its own business."""

    async def open_tasks(self, task_ids: Collection[str]) -> Collection[str]:
        """Those of them that are not final."""

    async def aclose(self) -> None:
        """Give the connections back."""
