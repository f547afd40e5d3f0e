"""The REST API, as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

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


def create_app(wiring: Wiring) -> FastAPI:
    """The API on this process's parts; the database is opened with the first request."""
    app = FastAPI(
        title="schedules-pipeline",
        description=DESCRIPTION,
        version=health.VERSION,
        responses=RESPONSES,
        lifespan=_lifespan,
    )
    app.state.use_cases = UseCases.of(wiring)
    app.state.agent_line, app.state.places = wiring.agent_line(), Places()
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestLog)
    add_error_handlers(app)
    for noun in (
        health,
        clock,
        agents,
        browsing,
        schedules,
        audits,
        edits,
        ledger,
        previews,
        tasks,
        rpc,
        backfills,
    ):
        app.include_router(noun.router)
    app.include_router(conversations.events)
    app.include_router(conversations.messages)
    # `/fires/overdue` before `/fires/{fire_id}`: an id may be any text.
    app.include_router(audits.fires)
    app.include_router(ledger.fires)
    app.include_router(edits.fires)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # As many threads as connections: who waits, waits in order here, not against the pool's clock.
    anyio.to_thread.current_default_thread_limiter().total_tokens = API_CONNECTIONS
    yield
    await app.state.agent_line.aclose()
