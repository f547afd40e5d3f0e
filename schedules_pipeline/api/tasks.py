"""Routes about tasks of the local platform: how an agent says what became of its work."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from schedules_pipeline.api.dependencies import Use
from schedules_pipeline.api.errors import BAD_REQUEST, NOT_FOUND
from schedules_pipeline.api.fields import STORABLE, Handle
from schedules_pipeline.api.routing import Route
from schedules_pipeline.services.store_port import StoredTask
from schedules_pipeline.services.tasks import TaskEnd

router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=Route)


class Reasoned(BaseModel):
    """Why, for whoever reads the task."""

    reason: Annotated[str, Field(max_length=10_000), STORABLE] | None = None


class TaskShown(BaseModel):
    """A task, as the platform keeps it."""

    id: str
    name: str
    agent_id: str
    status: str
    status_reason: str | None
    params: dict[str, Any] | None
    task_metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    cleaned_at: datetime | None = None

    @classmethod
    def of(cls, task: StoredTask) -> "TaskShown":
        """As it is shown."""
        fields: dict[str, Any] = {name: getattr(task, name, None) for name in cls.model_fields}
        return cls(**fields)


@router.get("/{task_id}", responses=NOT_FOUND)
def get_task(task_id: Handle, use: Use) -> TaskShown:
    """One task."""
    return TaskShown.of(use.tasks.get(task_id))


@router.get("/name/{task_name:path}", responses=NOT_FOUND)
def get_task_by_name(task_name: Handle, use: Use) -> TaskShown:
    """One task, by its name; a fire's is `scheduled-run:<schedule id>:<fire id>`."""
    return TaskShown.of(use.tasks.get_by_name(task_name))


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
