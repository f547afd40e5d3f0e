"""Who asks, and whether they may: before anything else is looked at.

A request without a name goes no further than the paths that are open to all; its body is not even
read. What the route needs (`api.needs`) is asked before its function is called.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from schedules_pipeline.api.body_limit import App, Receive, Scope, Send
from schedules_pipeline.api.dependencies import PRINCIPAL, Caller, Use, UseCases
from schedules_pipeline.api.errors import rendered
from schedules_pipeline.api.fields import Handle
from schedules_pipeline.api.needs import (
    NEEDS,
    OPEN,
    REGISTER,
    Among,
    On,
    OnAll,
    Open,
    Registering,
    Where,
)
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import SchedulesError
from schedules_pipeline.services.access_port import (
    Operation,
    Presented,
    Resource,
    ResourceType,
    ids_of,
)
from schedules_pipeline.services.locating import Locator, Subject

T = TypeVar("T")

QUESTIONS = 20
"""To a provider, at a time."""
ALLOWED = "schedules.allowed"
"""Where in a request's scope stands the one thing that the caller was asked about, and may."""
Find = Callable[[UseCases, str, str], str]
HANDLE: TypeAdapter[str] = TypeAdapter(Handle)


class Authentication:
    """ASGI middleware: who asks is written into the scope, or the request is refused."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            scope[PRINCIPAL] = await _authenticated(scope)
        except SchedulesError as error:
            return await rendered(error)(scope, receive, send)
        return await self._app(scope, receive, send)


async def _authenticated(scope: Scope) -> JsonObject:
    use: UseCases = scope["app"].state.use_cases
    place = (scope["method"], scope["path"])
    if not use.guarded or place in OPEN or (place == REGISTER and use.registration_is_open):
        return {}
    return await _ask(scope["app"], use.wiring.authenticator.authenticate, _presented(scope))


async def _ask(app: FastAPI, question: Callable[..., T], *about: object) -> T:
    """In a thread. Who decides elsewhere may be slow, and then keeps no thread that others need."""
    use: UseCases = app.state.use_cases
    limiter: CapacityLimiter | None = app.state.asking if use.permissions.keeps_records else None
    return await run_sync(question, *about, limiter=limiter)


def _presented(scope: Scope) -> Presented:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    client = scope.get("client")
    return Presented(headers=headers, source=client[0] if client else "")


async def authorize(request: Request, use: Use, principal: Caller) -> None:
    """A dependency of every route: whoever asks may do what the route is for.

    Errors: NotFound, PermissionDenied, and those of the authorizer.
    """
    need = NEEDS[request.method, request.scope["route"].path]
    if not use.guarded or isinstance(need, Open):
        return
    if isinstance(need, Registering) and not use.registration_is_open:
        need = OnAll(Operation.CREATE, Resource.all_agents())
    if isinstance(need, On):
        given = await _given(request, need.where)
        request.scope[ALLOWED] = await _ask(request.app, _require, use, principal, need, given)
    elif isinstance(need, OnAll):
        asked = (principal, need.resource, need.operation)
        await _ask(request.app, use.permissions.require_any, *asked)


async def _given(request: Request, where: Where) -> Mapping[str, str]:
    """What a part of the request says, of it what is text: as its function is going to read it."""
    match where:
        case Where.PATH:
            said: object = request.path_params
        case Where.QUERY:
            said = dict(request.query_params)
        case Where.BODY:
            said = await _body(request)
    found = said if isinstance(said, dict) else {}
    return {k: HANDLE.validate_python(v) for k, v in found.items() if isinstance(v, str)}


async def _body(request: Request) -> object:
    try:
        return await request.json()
    except (ValueError, RecursionError):
        return None  # Refused for what is missing from it.


async def permitted(request: Request, use: Use, principal: Caller) -> frozenset[str] | None:
    """Ids of the things that the caller may do this to; None: all of them."""
    need = NEEDS[request.method, request.scope["route"].path]
    assert isinstance(need, Among), "routes were checked when the application was made"
    if not use.guarded:
        return None
    return await _ask(request.app, use.permissions.ids, principal, need.kind, need.operation)


async def _find(request: Request) -> Find:
    allowed: Resource | None = request.scope.get(ALLOWED)
    if allowed is None:
        return lambda use, agent_id, name: use.editor.find(agent_id, name)
    (schedule_id,) = ids_of(ResourceType.SCHEDULE, [allowed.selector])
    return lambda _use, _agent_id, _name: schedule_id


Permitted = Annotated[frozenset[str] | None, Depends(permitted)]
Named = Annotated[Find, Depends(_find)]
"""Finds the schedule of a name: the one that was asked about, whoever has the name by now."""


def require_needs(router: APIRouter) -> None:
    """Errors: LookupError, naming the route of which nobody has said what it needs."""
    for route in router.routes:
        assert isinstance(route, APIRoute)
        for method in route.methods or ():
            need = NEEDS.get((method, route.path))
            if need is None:
                raise LookupError(f"{method} {route.path} has no line in api/needs.py")
            if isinstance(need, Among) != (permitted in _calls(route.dependant)):
                raise LookupError(f"{method} {route.path}: Among and Permitted go together")


def _calls(dependant: Dependant) -> set[Any]:
    return {each.call for each in dependant.dependencies}


def _require(use: UseCases, principal: JsonObject, need: On, given: Mapping[str, str]) -> Resource:
    subject: Subject = need.find(Locator(use.store), given)
    use.permissions.require(principal, subject.resource, need.operation, subject.absent)
    return subject.resource
