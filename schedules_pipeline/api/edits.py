"""Routes that change a schedule or start a fire, by id and by name.

Each acts on the id; a name is resolved first, to the schedule that has it now.
"""

from functools import partial

from fastapi import APIRouter

from schedules_pipeline.api.access import Named
from schedules_pipeline.api.dependencies import Caller, Principal, Use, UseCases
from schedules_pipeline.api.errors import BAD_REQUEST, NOT_FOUND, STALE
from schedules_pipeline.api.fields import Handle
from schedules_pipeline.api.preconditions import IfMatch
from schedules_pipeline.api.routing import Route
from schedules_pipeline.api.schemas import (
    Deleted,
    FireRow,
    Noted,
    OneOccurrence,
    Redriven,
    Schedule,
    ScheduleUpdate,
    Triggered,
)
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.access_port import Resource, creator_of
from schedules_pipeline.services.preconditions import Expected

router = APIRouter(
    prefix="/agents/{agent_id}/schedules",
    tags=["edits"],
    responses=NOT_FOUND | BAD_REQUEST | STALE,
    route_class=Route,
)
fires = APIRouter(
    prefix="/fires", tags=["fires"], responses=NOT_FOUND | BAD_REQUEST, route_class=Route
)


@router.patch("/{schedule_id}")
def update(
    agent_id: Handle,
    schedule_id: Handle,
    body: ScheduleUpdate,
    use: Use,
    principal: Principal,
    expected: IfMatch,
) -> Schedule:
    """Change what is given. An edit of *when* counts at once; nothing of the past is replayed."""
    return _update(use, agent_id, schedule_id, body, principal, expected)


@router.patch("/name/{name}")
def update_by_name(
    agent_id: Handle,
    name: Handle,
    body: ScheduleUpdate,
    use: Use,
    find: Named,
    principal: Principal,
    expected: IfMatch,
) -> Schedule:
    """As by id; a `name` in the body renames."""
    return _update(use, agent_id, find(use, agent_id, name), body, principal, expected)


@router.post("/{schedule_id}/pause")
def pause(
    agent_id: Handle,
    schedule_id: Handle,
    use: Use,
    principal: Principal,
    expected: IfMatch,
    body: Noted | None = None,
) -> Schedule:
    """Nothing fires until it is resumed; what comes meanwhile is not made up."""
    return _pause(use, agent_id, schedule_id, principal, body, expected)


@router.post("/name/{name}/pause")
def pause_by_name(
    agent_id: Handle,
    name: Handle,
    use: Use,
    find: Named,
    principal: Principal,
    expected: IfMatch,
    body: Noted | None = None,
) -> Schedule:
    """As by id."""
    return _pause(use, agent_id, find(use, agent_id, name), principal, body, expected)


@router.post("/{schedule_id}/resume")
def resume(
    agent_id: Handle,
    schedule_id: Handle,
    use: Use,
    principal: Principal,
    expected: IfMatch,
    body: Noted | None = None,
) -> Schedule:
    """Go on with the first occurrence that is ahead."""
    return _resume(use, agent_id, schedule_id, principal, body, expected)


@router.post("/name/{name}/resume")
def resume_by_name(
    agent_id: Handle,
    name: Handle,
    use: Use,
    find: Named,
    principal: Principal,
    expected: IfMatch,
    body: Noted | None = None,
) -> Schedule:
    """As by id."""
    return _resume(use, agent_id, find(use, agent_id, name), principal, body, expected)


@router.post("/{schedule_id}/trigger")
def trigger(agent_id: Handle, schedule_id: Handle, use: Use, expected: IfMatch) -> Triggered:
    """One more fire, now, also while it is paused or outside its window."""
    return _trigger(use, agent_id, schedule_id, expected)


@router.post("/name/{name}/trigger")
def trigger_by_name(
    agent_id: Handle, name: Handle, use: Use, find: Named, expected: IfMatch
) -> Triggered:
    """As by id."""
    return _trigger(use, agent_id, find(use, agent_id, name), expected)


@router.post("/{schedule_id}/skip")
def skip(
    agent_id: Handle,
    schedule_id: Handle,
    body: OneOccurrence,
    use: Use,
    principal: Principal,
    expected: IfMatch,
) -> Schedule:
    """Take one coming occurrence out; again: nothing changes. Works until it is started."""
    use.editor.skip(agent_id, schedule_id, body.scheduled_time, principal, expected)
    return _shown(use, agent_id, schedule_id)


@router.post("/{schedule_id}/unskip")
def unskip(
    agent_id: Handle,
    schedule_id: Handle,
    body: OneOccurrence,
    use: Use,
    principal: Principal,
    expected: IfMatch,
) -> Schedule:
    """Put a skipped occurrence back while its time is ahead."""
    use.editor.unskip(agent_id, schedule_id, body.scheduled_time, principal, expected)
    return _shown(use, agent_id, schedule_id)


@router.delete("/{schedule_id}")
def delete(
    agent_id: Handle, schedule_id: Handle, use: Use, caller: Caller, expected: IfMatch
) -> Deleted:
    """Delete it. Its name is free at once; what is planned ends `skipped` when it is due."""
    return _delete(use, agent_id, schedule_id, schedule_id, caller, expected)


@router.delete("/name/{name}")
def delete_by_name(
    agent_id: Handle, name: Handle, use: Use, find: Named, caller: Caller, expected: IfMatch
) -> Deleted:
    """Delete the schedule that has this name now."""
    return _delete(use, agent_id, find(use, agent_id, name), name, caller, expected)


@fires.post("/{fire_id}/redrive")
def redrive(fire_id: Handle, use: Use) -> Redriven:
    """Deliver a fire that ended failed, missed or cancelled, once more, under a key of its own."""
    fire = use.triggers.redrive(fire_id)
    shown = FireRow.of(fire).model_dump()
    return Redriven(**shown, clock=use.switches.says(fire.agent_id))


def _update(
    use: UseCases,
    agent_id: str,
    schedule_id: str,
    body: ScheduleUpdate,
    principal: JsonObject,
    expected: Expected,
) -> Schedule:
    change = partial(patched, given=body.given())
    use.editor.update(agent_id, schedule_id, change, principal, expected)
    return _shown(use, agent_id, schedule_id)


def _pause(
    use: UseCases,
    agent_id: str,
    schedule_id: str,
    principal: JsonObject,
    body: Noted | None,
    expected: Expected,
) -> Schedule:
    use.editor.pause(agent_id, schedule_id, principal, body.note if body else None, expected)
    return _shown(use, agent_id, schedule_id)


def _resume(
    use: UseCases,
    agent_id: str,
    schedule_id: str,
    principal: JsonObject,
    body: Noted | None,
    expected: Expected,
) -> Schedule:
    use.editor.resume(agent_id, schedule_id, principal, body.note if body else None, expected)
    return _shown(use, agent_id, schedule_id)


def _trigger(use: UseCases, agent_id: str, schedule_id: str, expected: Expected) -> Triggered:
    fire_id = use.triggers.trigger(agent_id, schedule_id, expected)
    shown = _shown(use, agent_id, schedule_id)
    clock = use.switches.says(agent_id)
    return Triggered(**shown.model_dump(), triggered_fire_id=fire_id, clock=clock)


def _delete(
    use: UseCases,
    agent_id: str,
    schedule_id: str,
    addressed_as: str,
    caller: JsonObject,
    expected: Expected,
) -> Deleted:
    use.editor.delete(agent_id, schedule_id, creator_of(caller), expected)
    use.permissions.forget(caller, Resource.schedule(agent_id, schedule_id))
    return Deleted(id=schedule_id, message=f"Run schedule '{addressed_as}' deleted successfully")


def _shown(use: UseCases, agent_id: str, schedule_id: str) -> Schedule:
    return Schedule.of(use.schedules.get(agent_id, schedule_id))
