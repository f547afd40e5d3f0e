"""Routes about agents."""

from typing import Annotated

from fastapi import APIRouter, Query

from schedules_pipeline.api.access import Permitted
from schedules_pipeline.api.agent_schemas import AgentRegister, AgentRow, RegisteredAgent
from schedules_pipeline.api.dependencies import Use
from schedules_pipeline.api.errors import BAD_REQUEST, NOT_FOUND
from schedules_pipeline.api.fields import Handle
from schedules_pipeline.api.routing import Route

router = APIRouter(prefix="/agents", tags=["agents"], route_class=Route)


@router.post("/register", responses=BAD_REQUEST)
def register(body: AgentRegister, use: Use) -> RegisteredAgent:
    """Make an agent known; again, by the same name: update it. Its id and key stay."""
    return RegisteredAgent.of(use.agents.register(body.to_draft()))


@router.get("")
def list_agents(
    use: Use,
    only: Permitted,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
    page_number: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> list[AgentRow]:
    """Newest first."""
    agents = use.agents.list(limit=limit, offset=(page_number - 1) * limit, only=only)
    return [AgentRow.of(agent) for agent in agents]


@router.get("/{agent_id}", responses=NOT_FOUND)
def get_agent(agent_id: Handle, use: Use) -> AgentRow:
    """One agent."""
    return AgentRow.of(use.agents.get(agent_id))


@router.get("/name/{agent_name}", responses=NOT_FOUND)
def get_agent_by_name(agent_name: Handle, use: Use) -> AgentRow:
    """One agent, by its name."""
    return AgentRow.of(use.agents.get_by_name(agent_name))
