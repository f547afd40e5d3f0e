"""Routes about an agent's schedules, by id and by name."""

from typing import Annotated

from fastapi import APIRouter, Query

from schedules_pipeline.api.access import Named, Permitted
from schedules_pipeline.api.dependencies import Caller, Use
from schedules_pipeline.api.errors import BAD_REQUEST, NOT_FOUND
from schedules_pipeline.api.fields import Handle, Instant
from schedules_pipeline.api.routing import Route
from schedules_pipeline.api.schemas import Preview, Schedule, ScheduleCreate, ScheduleList
from schedules_pipeline.services.previewing import Span

router = APIRouter(
    prefix="/agents/{agent_id}/schedules",
    tags=["schedules"],
    responses=NOT_FOUND,
    route_class=Route,
)

Limit = Annotated[int, Query(ge=1, le=1_000)]


@router.post("", responses=BAD_REQUEST)
def create(agent_id: Handle, body: ScheduleCreate, use: Use, caller: Caller) -> Schedule:
    """Create a schedule. What is due within the next minute or so is planned at once."""
    return Schedule.of(use.schedules.create(agent_id, body.to_draft(), caller))


@router.get("")
def list_schedules(
    agent_id: Handle,
    use: Use,
    only: Permitted,
    limit: Limit = 100,
    include_live: bool = False,
) -> ScheduleList:
    """Newest first. With `include_live`, the first 200 carry live data."""
    found = use.schedules.list(agent_id, limit=limit, live=include_live, only=only)
    return ScheduleList(run_schedules=[Schedule.of(each) for each in found], total=len(found))


@router.get("/{schedule_id}")
def get(agent_id: Handle, schedule_id: Handle, use: Use) -> Schedule:
    """One schedule, live."""
    return Schedule.of(use.schedules.get(agent_id, schedule_id))


@router.get("/name/{name}")
def get_by_name(agent_id: Handle, name: Handle, use: Use, find: Named) -> Schedule:
    """One schedule, live, by the name it has now."""
    return Schedule.of(use.schedules.get(agent_id, find(use, agent_id, name)))


@router.get("/{schedule_id}/occurrences")
def occurrences(
    agent_id: Handle,
    schedule_id: Handle,
    use: Use,
    from_: Annotated[Instant | None, Query(alias="from")] = None,
    to: Instant | None = None,
    limit: Limit = 100,
) -> Preview:
    """What comes after `from` (now), up to and including `to`; skipped ones are marked."""
    span = Span(after=from_, until=to, count=limit)
    return Preview.of(use.previews.of_schedule(agent_id, schedule_id, span))
