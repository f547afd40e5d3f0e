"""Routes about tasks of the local platform: what there is, and what became of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from schedules_pipeline.api.access import Permitted
from schedules_pipeline.api.agent_schemas import AgentRow
from schedules_pipeline.api.dependencies import Use
from schedules_pipeline.api.errors import BAD_REQUEST, NOT_FOUND
from schedules_pipeline.api.fields import STORABLE, Handle, Json
from schedules_pipeline.api.paging import JsonText, PageQuery, json_object
from schedules_pipeline.api.routing import Route
from schedules_pipeline.domain.schedule import Agent
from schedules_pipeline.services.conversation_port import TaskFilter, TaskOrder
from schedules_pipeline.services.stored import StoredTask
from schedules_pipeline.services.tasks import TaskEnd

TaskStatus = Literal[
    "RUNNING",
    "INTERRUPTED",
    "CANCELED",
    "COMPLETED",
    "FAILED",
    "TERMINATED",
    "TIMED_OUT",
    "DELETED",
]

router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=Route)


class Reasoned(BaseModel):
    """Why, for whoever reads the task."""

    reason: Annotated[str, Field(max_length=10_000), STORABLE] | None = None


class TaskSummary(BaseModel):
    """A task, as lists show it: without its parameters."""

    id: str
    name: str | None
    agent_id: str
    status: TaskStatus
    status_reason: str | None
    task_metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    cleaned_at: datetime | None = None

    @classmethod
    def of(cls, task: StoredTask, **more: Any) -> Self:
        """As it is shown."""
        # A key of the contract has nothing behind it here.
        fields: dict[str, Any] = {name: getattr(task, name, None) for name in cls.model_fields}
        return cls(**fields | more)


class TaskShown(TaskSummary):
    """A task, as the platform keeps it."""

    params: dict[str, Any] | None


class ListedTask(TaskSummary):
    """A task of a list; `agents` only if they are asked for."""

    agents: list[AgentRow] | None


class SingleTask(TaskShown):
    """One task; `agents` only if they are asked for."""

    agents: list[AgentRow] | None


class TaskUpdate(BaseModel):
    """What is to be changed; null and absent change nothing."""

    task_metadata: Json | None = Field(default=None, description="All of it, anew.")
    merge_params: Json | None = Field(
        default=None, description="Laid over `params`, key by key at their first level."
    )


class TasksQuery(PageQuery):
    """Which tasks; those that fit everything that is said."""

    agent_id: Handle | None = None
    agent_name: Handle | None = None
    status: TaskStatus | None = None
    task_metadata: JsonText | None = Field(
        default=None,
        description="A JSON object that the task's `task_metadata` must contain.",
        examples=['{"schedule_id": "4f0c…"}'],
    )
    order_by: TaskOrder = TaskOrder.CREATED_AT
    relationships: list[Literal["agents"]] = Field(default=[])

    def to_filter(self, only: frozenset[str] | None) -> TaskFilter:
        """As the use case wants it. Errors: InvalidInput."""
        return TaskFilter(
            agent_id=self.agent_id,
            agent_name=self.agent_name,
            status=self.status,
            task_metadata=json_object("task_metadata", self.task_metadata),
            only=only,
        )


Relationships = Annotated[list[Literal["agents"]], Query(description="What to show with it.")]


@router.get("")
def list_tasks(
    query: Annotated[TasksQuery, Query()], use: Use, only: Permitted
) -> list[ListedTask]:
    """Newest first, unless another order is asked for; without `params`."""
    tasks = use.tasks.list(query.to_filter(only), query.order_by, query.span())
    agents = use.tasks.agents_of(tasks) if query.relationships else None
    return [ListedTask.of(task, agents=_agents(task, agents)) for task in tasks]


@router.get("/{task_id}", responses=NOT_FOUND)
def get_task(task_id: Handle, use: Use, relationships: Relationships = []) -> SingleTask:  # noqa: B006
    """One task."""
    return _single(use, use.tasks.get(task_id), relationships)


@router.get("/name/{task_name:path}", responses=NOT_FOUND)
def get_task_by_name(
    task_name: Handle,
    use: Use,
    relationships: Relationships = [],  # noqa: B006
) -> SingleTask:
    """One task, by its name; a fire's is `scheduled-run:<schedule id>:<fire id>`."""
    return _single(use, use.tasks.get_by_name(task_name), relationships)


@router.put("/{task_id}", responses=NOT_FOUND)
def update_task(task_id: Handle, body: TaskUpdate, use: Use) -> TaskShown:
    """Other metadata, more parameters. Nothing that a fire's delivery depends on is read there."""
    return TaskShown.of(use.tasks.update(task_id, **body.model_dump()))


@router.put("/name/{task_name:path}", responses=NOT_FOUND)
def update_task_by_name(task_name: Handle, body: TaskUpdate, use: Use) -> TaskShown:
    """The same, by its name."""
    found = use.tasks.get_by_name(task_name)
    return TaskShown.of(use.tasks.update(found.id, **body.model_dump()))


@router.post("/{task_id}/complete", responses=NOT_FOUND | BAD_REQUEST)
def complete(task_id: Handle, use: Use, body: Reasoned | None = None) -> TaskShown:
    """It is done."""
    return _move(use, task_id, TaskEnd.COMPLETE, body)


@router.post("/{task_id}/fail", responses=NOT_FOUND | BAD_REQUEST)
def fail(task_id: Handle, use: Use, body: Reasoned | None = None) -> TaskShown:
    """It went wrong."""
    return _move(use, task_id, TaskEnd.FAIL, body)


@router.post("/{task_id}/cancel", responses=NOT_FOUND | BAD_REQUEST)
def cancel(task_id: Handle, use: Use, body: Reasoned | None = None) -> TaskShown:
    """It was given up."""
    return _move(use, task_id, TaskEnd.CANCEL, body)


@router.post("/{task_id}/terminate", responses=NOT_FOUND | BAD_REQUEST)
def terminate(task_id: Handle, use: Use, body: Reasoned | None = None) -> TaskShown:
    """It was ended by force."""
    return _move(use, task_id, TaskEnd.TERMINATE, body)


@router.post("/{task_id}/timeout", responses=NOT_FOUND | BAD_REQUEST)
def time_out(task_id: Handle, use: Use, body: Reasoned | None = None) -> TaskShown:
    """It took too long."""
    return _move(use, task_id, TaskEnd.TIMEOUT, body)


@router.post("/{task_id}/interrupt", responses=NOT_FOUND | BAD_REQUEST)
def interrupt(task_id: Handle, use: Use, body: Reasoned | None = None) -> TaskShown:
    """It stands still, and may go on."""
    return _move(use, task_id, TaskEnd.INTERRUPT, body)


def _move(use: Use, task_id: str, end: TaskEnd, body: Reasoned | None) -> TaskShown:
    return TaskShown.of(use.tasks.move(task_id, end, body.reason if body else None))


def _single(use: Use, task: StoredTask, relationships: list[Literal["agents"]]) -> SingleTask:
    agents = use.tasks.agents_of([task]) if relationships else None
    return SingleTask.of(task, agents=_agents(task, agents))


def _agents(task: StoredTask, known: Mapping[str, Agent] | None) -> list[AgentRow] | None:
    return None if known is None else [AgentRow.of(known[task.agent_id])]
