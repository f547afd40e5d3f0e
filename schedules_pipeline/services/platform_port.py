"""What the use cases need from outside, as protocols. `store/` and `delivery/` provide it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schedules_pipeline.domain.schedule import Agent, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The agent platform's unit of work, as the agent sees it."""

    id: str
    name: str | None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A task, and perhaps an input for it, that a person's request has for an agent.

    `event_id` is the input's, and the key that the agent can tell a repetition by. `headers` are
    those of the request that the agent is to see.
    """

    agent: Agent
    task: Task
    event_id: str
    event_sequence: int = 0
    content: JsonObject | None = None
    created_at: datetime
    headers: Mapping[str, str]


Take = Callable[[JsonObject], Awaitable[None]]
"""Gets what an agent says, piece by piece; while it is busy, the agent has to wait."""


class AgentLine(Protocol):
    """The way to agents for what persons ask of them by hand: each call is one attempt.

    The calls raise `errors.DeliveryError` (one of its leaves) for whatever an agent does.
    """

    async def create_task(self, about: Errand) -> None:
        """Tell the agent of its task. May be repeated."""

    async def send_event(self, about: Errand) -> None:
        """Give an asynchronous agent its input."""

    async def converse(self, about: Errand, take: Take) -> None:
        """Give a synchronous agent its input, and `take` each update of its answer as it comes.

        Updates are objects without anything that PostgreSQL refuses, and not deeply nested; what
        they say is the agent's word.
        """

    async def cancel_task(self, about: Errand) -> None:
        """Tell the agent to give the task up."""

    async def interrupt_task(self, about: Errand) -> None:
        """Tell the agent to stop in its turn; the task may go on."""

    async def aclose(self) -> None:
        """Give the connections back."""


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
