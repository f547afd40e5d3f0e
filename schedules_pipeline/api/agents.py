"""Routes about agents."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from schedules_pipeline.api.access import Permitted
from schedules_pipeline.api.agent_schemas import AgentRegister, AgentRow, RegisteredAgent
from schedules_pipeline.api.dependencies import Caller, Use
from schedules_pipeline.api.errors import BAD_REQUEST, NOT_FOUND
from schedules_pipeline.api.fields import Handle
from schedules_pipeline.api.paging import JsonText, PageQuery, json_object
from schedules_pipeline.api.routing import Route
from schedules_pipeline.services.access_port import Resource
from schedules_pipeline.services.conversation_port import AgentFilter, AgentOrder

router = APIRouter(prefix="/agents", tags=["agents"], route_class=Route)


@router.post("/register", responses=BAD_REQUEST)
def register(body: AgentRegister, use: Use) -> RegisteredAgent:
    """Make an agent known; again, by the same name: update it. Its id and key stay."""
    return RegisteredAgent.of(use.agents.register(body.to_draft()))


class AgentsQuery(PageQuery):
    """Which agents."""

    task_id: Handle | None = Field(default=None, description="The agent of this task.")
    agent_card_metadata: JsonText | None = Field(
        default=None,
        description="A JSON object that `registration_metadata.agent_card.metadata` must contain.",
    )
    order_by: AgentOrder = AgentOrder.CREATED_AT


@router.get("")
def list_agents(
    query: Annotated[AgentsQuery, Query()], use: Use, only: Permitted, caller: Caller
) -> list[AgentRow]:
    """Newest first, unless another order is asked for."""
    task = None if query.task_id is None else Resource.task(query.task_id)
    if use.guarded and task is not None and not use.permissions.may_read(caller, task):
        return []  # As of a task that is not there.
    card = json_object("agent_card_metadata", query.agent_card_metadata)
    wanted = AgentFilter(task_id=query.task_id, card=card, only=only)
    return [AgentRow.of(agent) for agent in use.agents.list(wanted, query.order_by, query.span())]


@router.get("/{agent_id}", responses=NOT_FOUND)
def get_agent(agent_id: Handle, use: Use) -> AgentRow:
    """One agent."""
    return AgentRow.of(use.agents.get(agent_id))


@router.get("/name/{agent_name}", responses=NOT_FOUND)
def get_agent_by_name(agent_name: Handle, use: Use) -> AgentRow:
    """One agent, by its name."""
    return AgentRow.of(use.agents.get_by_name(agent_name))
