"""The REST API, as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import signature
from typing import Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from schedules_pipeline.api import (
    agents,
    audits,
    backfills,
    browsing,
    clock,
    conversations,
    edits,
    health,
    ledger,
    previews,
    rpc,
    schedules,
    tasks,
)
from schedules_pipeline.api.access import QUESTIONS, Authentication, authorize, require_needs
from schedules_pipeline.api.body_limit import BodyLimit
from schedules_pipeline.api.dependencies import UseCases
from schedules_pipeline.api.errors import RESPONSES, add_error_handlers
from schedules_pipeline.api.json_guard import JsonGuard
from schedules_pipeline.api.request_log import RequestLog
from schedules_pipeline.services.places import Places
from schedules_pipeline.wiring import API_CONNECTIONS, Wiring

DESCRIPTION = """
Recurring runs for AI agents. A schedule says when (a *cadence*) and what; the ledger of *fires*
says what became of every occurrence. Bodies are at most 1 MiB.
"""

# What `ENABLE_AGENT_RUN_SCHEDULES` switches off: all that is below `/agents/{agent_id}/schedules`
# and `/schedules`. What was delivered and what is to be can be seen even so.
SCHEDULES = (
    browsing.router,
    schedules.router,
    audits.router,
    edits.router,
    ledger.router,
    previews.router,
    backfills.router,
)
# `/fires/overdue` before `/fires/{fire_id}`: an id may be any text.
ROUTERS = (
    health.router,
    clock.router,
    agents.router,
    *SCHEDULES,
    tasks.router,
    rpc.router,
    backfills.progress,
    conversations.events,
    conversations.messages,
    audits.fires,
    ledger.fires,
    edits.fires,
)


def create_app(wiring: Wiring) -> FastAPI:
    """The API on this process's parts; the database is opened with the first request."""
    whole = _app(wiring, schedules_too=True)
    if wiring.settings.enable_agent_run_schedules:
        return whole
    app = _app(wiring, schedules_too=False)
    app.openapi = whole.openapi  # type: ignore[method-assign]
    return app


class Documented(FastAPI):
    """Its document says of parameters what is true of them."""

    def openapi(self) -> dict[str, Any]:
        """One that may be left out may not be `null`: on the wire that is a text of four letters.

        FastAPI reads `str | None` as both.
        """
        document = super().openapi()
        for operation in (each for path in document["paths"].values() for each in path.values()):
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"]
                kinds = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
                schema |= {"anyOf": kinds} if len(kinds) > 1 else dict(*kinds)
        return document


def _app(wiring: Wiring, *, schedules_too: bool) -> FastAPI:
    app = Documented(
        title="schedules-pipeline",
        description=DESCRIPTION,
        version=health.VERSION,
        responses=RESPONSES,
        lifespan=_lifespan,
        dependencies=[Depends(authorize)],
    )
    app.state.use_cases = UseCases.of(wiring)
    app.state.open_agent_line, app.state.agent_line = wiring.agent_line, None
    app.state.places = Places()
    app.state.asking = anyio.CapacityLimiter(QUESTIONS)
    # The last one is the outermost: nothing is read of a body before it is known whose it is.
    app.add_middleware(JsonGuard)
    app.add_middleware(BodyLimit)
    app.add_middleware(Authentication)
    app.add_middleware(RequestLog)
    add_error_handlers(app)
    for router in ROUTERS:
        require_needs(router)
        if schedules_too or router not in SCHEDULES:
            _include(app, router)
    return app


def _include(app: FastAPI, router: APIRouter) -> None:
    """Its routes among the application's own: FastAPI's way tries router by router, and the routes
    of the chosen one twice, which takes four times as long.
    """
    told = signature(app.router.add_api_route).parameters
    for route in router.routes:
        assert isinstance(route, APIRoute)
        # A route keeps what it was told under the names by which it was.
        same = {name: getattr(route, name) for name in told if hasattr(route, name)}
        app.router.add_api_route(**same, route_class_override=type(route))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # As many threads as connections: who waits, waits in order here, not against the pool's clock.
    anyio.to_thread.current_default_thread_limiter().total_tokens = API_CONNECTIONS
    yield
    if app.state.agent_line is not None:
        await app.state.agent_line.aclose()
