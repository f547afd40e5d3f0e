"""The local platform: agents and tasks live in our Postgres, inputs go straight to the agents."""

from collections.abc import Sequence

from schedules_pipeline.delivery.acp import AcpClient, Timeouts
from schedules_pipeline.domain.schedule import AcpType, Agent
from schedules_pipeline.services.platform_port import Assignment


class LocalPlatform:
    """An `AgentPlatform` that speaks ACP to each agent's own server.

    The task's row is written by the claim's transaction; here the agent is only told of it.
    Belongs to the event loop that first uses it.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._acp = AcpClient(timeouts)

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

    async def aclose(self) -> None:
        """Close every connection."""
        await self._acp.aclose()
