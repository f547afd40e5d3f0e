"""The local platform: agents and tasks live in our Postgres, inputs go straight to the agents."""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from schedules_pipeline.delivery.acp import AcpClient, Timeouts
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.services.platform_port import Assignment, Stop


class Tasks(Protocol):
    """What the local platform knows of its tasks: our own tables, from any thread."""

    def moved_since(self, task_id: str, since: datetime) -> bool:
        """Whether its agent has touched it since then."""

    def not_final(self, task_ids: Collection[str]) -> Collection[str]:
        """Those of them that are at work, or were interrupted."""


class LocalPlatform:
    """An `AgentPlatform` that speaks ACP to each agent's own server.

    The task's row is written by the claim's transaction; here the agent is only told of it.
    Belongs to the event loop that first uses it.
    """

    def __init__(self, timeouts: Timeouts, tasks: Tasks) -> None:
        self._acp = AcpClient(timeouts)
        self._tasks = tasks

    async def create_task(self, assignment: Assignment) -> None:
        """Tell the agent of its task. A synchronous agent has no such call: nothing is sent."""
        if assignment.agent.acp_type is not AcpType.SYNC:
            await self._acp.create_task(assignment)

    async def send_input(self, assignment: Assignment) -> str | None:
        """Deliver the input. Returns the beginning of a synchronous agent's answer, if any."""
        if assignment.agent.acp_type is AcpType.SYNC:
            return await self._acp.send_message(assignment)
        await self._acp.send_event(assignment)
        return None

    async def shows_input(self, assignment: Assignment) -> bool:
        """Whether the agent has moved the fire's task since its claim, whatever to."""
        return await asyncio.to_thread(
            self._tasks.moved_since, assignment.task.id, assignment.claimed_at
        )

    async def stop_task(self, stop: Stop) -> None:
        """Tell the agent to stop. The task's row says so already."""
        await self._acp.stop_task(stop)

    async def open_tasks(self, task_ids: Collection[str]) -> Collection[str]:
        """Those of them that are not final."""
        return await asyncio.to_thread(self._tasks.not_final, task_ids)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._acp.aclose()
