"""The REST API, as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import Depends, FastAPI

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
from schedules_pipeline.api.access import Authentication, authorize, require_needs
from schedules_pipeline.api.body_limit import BodyLimit
from schedules_pipeline.api.dependencies import UseCases
from schedules_pipeline.api.errors import RESPONSES, add_error_handlers
from schedules_pipeline.api.request_log import RequestLog
from schedules_pipeline.services.places import Places
from schedules_pipeline.wiring import API_CONNECTIONS, Wiring

DESCRIPTION = """
Recurring runs for AI agents. A schedule says when (a *cadence*) and what; the ledger of *fires*
says what became of every occurrence. Bodies are at most 1 MiB.
"""

# `/fires/overdue` before `/fires/{fire_id}`: an id may be any text.
ROUTERS = (
    health.router,
    clock.router,
    agents.router,
    browsing.router,
    schedules.router,
    audits.router,
    edits.router,
    ledger.router,
    previews.router,
    tasks.router,
    rpc.router,
    backfills.router,
    conversations.events,
    conversations.messages,
    audits.fires,
    ledger.fires,
    edits.fires,
)


def create_app(wiring: Wiring) -> FastAPI:
    """The API on this process's parts; the database is opened with the first request."""
    app = FastAPI(
        title="schedules-pipeline",
        description=DESCRIPTION,
        version=health.VERSION,
        responses=RESPONSES,
        lifespan=_lifespan,
        dependencies=[Depends(authorize)],
    )
    app.state.use_cases = UseCases.of(wiring)
    app.state.agent_line, app.state.places = wiring.agent_line(), Places()
    # The last one is the outermost: nothing is read of a body before it is known whose it is.
    app.add_middleware(BodyLimit)
    app.add_middleware(Authentication)
    app.add_middleware(RequestLog)
    add_error_handlers(app)
    for router in ROUTERS:
        require_needs(router)
        app.include_router(router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # As many threads as connections: who waits, waits in order here, not against the pool's clock.
    anyio.to_thread.current_default_thread_limiter().total_tokens = API_CONNECTIONS
    yield
    await app.state.agent_line.aclose()
