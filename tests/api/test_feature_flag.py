"""`ENABLE_AGENT_RUN_SCHEDULES=false`: no routes, but the document, and everything else."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from schedules_pipeline.api.app import create_app
from schedules_pipeline.api.document import document
from schedules_pipeline.settings import Settings
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.api.factories import agent_body
from tests.ledger import a_schedule, one, schedule_of, states


@pytest.fixture
def off(database_url: str) -> Iterator[FastAPI]:
    """The application without its schedules."""
    wiring = _without_schedules(database_url)
    yield create_app(wiring)
    wiring.close()


def _without_schedules(database_url: str) -> Wiring:
    off = {"enable_agent_run_schedules": False}
    return Wiring(Settings(database_url=database_url).model_copy(update=off))


def _ask(app: FastAPI, method: str, path: str, body: object = None) -> Response:
    async def ask() -> Response:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://api") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/agents/a/schedules"),
        ("GET", "/agents/a/schedules?limit=nonsense"),
        ("PUT", "/agents/a/schedules/s"),
        ("DELETE", "/agents/a/schedules/name/n"),
        ("POST", "/agents/a/schedules/s/backfill"),
        ("GET", "/agents/a/schedules/s/fires"),
        ("GET", "/schedules"),
        ("POST", "/schedules/preview"),
    ],
)
def test_routes_of_schedules_are_not_there(off: FastAPI, method: str, path: str) -> None:
    answer = _ask(off, method, path, {})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_all_else_is_there_and_the_document_lists_the_schedules_too(off: FastAPI) -> None:
    agent = _ask(off, "POST", "/agents/register", agent_body())
    assert agent.status_code == 200
    for path in ("/agents", "/fires", "/fires/overdue", "/clock", "/readyz"):
        assert _ask(off, "GET", path).status_code == 200, path
    assert _ask(off, "GET", "/openapi.json").json() == json.loads(document())


def test_schedules_that_exist_keep_firing(store: PostgresStore, database_url: str) -> None:
    schedule = a_schedule(store, every=5, clock_at=store.now())
    wiring = _without_schedules(database_url)
    emitted = wiring.clock.tick(lambda _since: ())
    wiring.close()
    assert emitted
    assert states(store)["planned"] > 0
    assert schedule_of(store, one(store, "select min(id) from fires")) == schedule.id
