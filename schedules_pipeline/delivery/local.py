"""The local platform: agents and tasks live in our Postgres, inputs go straight to the agents."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from schedules_pipeline.delivery.acp import AcpClient, Timeouts
from schedules_pipeline.domain.schedule import AcpType, Agent
from schedules_pipeline.services.group_commit import GroupCommit
from schedules_pipeline.services.platform_port import Assignment, Stop


class Tasks(Protocol):
    """What the local platform knows of its tasks: our own tables, from any thread."""

    def moved_by_agents(self, fire_ids: Collection[str]) -> Collection[str]:
        """Those of the fires whose agents moved their task since the input could go out."""

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
        # A run that takes over hundreds at once asks in a few statements, on one connection.
        self._proofs = GroupCommit(self._moved)

    def expect(self, inputs: Sequence[tuple[Agent, int]]) -> None:
        """Open connections for what is due soon."""
        self._acp.expect(inputs)

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
        """Whether the agent has moved the fire's task since the input could go out, wherever to."""
        return await self._proofs.put(assignment.fire_id)

    async def _moved(self, fire_ids: Sequence[str]) -> Sequence[bool]:
        moved = await asyncio.to_thread(self._tasks.moved_by_agents, fire_ids)
        return [fire_id in moved for fire_id in fire_ids]

    async def stop_task(self, stop: Stop) -> None:
        """Tell the agent to stop. The task's row says so already."""
        await self._acp.stop_task(stop)

    async def open_tasks(self, task_ids: Collection[str]) -> Collection[str]:
        """Those of them that are not final."""
        return await asyncio.to_thread(self._tasks.not_final, task_ids)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._acp.aclose()
