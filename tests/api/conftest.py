"""The API behind a real HTTP server, in front of a database of the test's own."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from schedules_pipeline.api.app import create_app
from schedules_pipeline.api.dependencies import UseCases
from schedules_pipeline.settings import Settings
from schedules_pipeline.wiring import Wiring
from tests.agents import RunningAgent, start_agent
from tests.api.clients import a_client
from tests.api.factories import Api, agent_body
from tests.api.guarded import asking, guarded
from tests.provider import StubProvider

NO_DATABASE = "postgresql://127.0.0.1:1/none"


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """One application for the session; each test gives it its own parts."""
    return create_app(
        Wiring(
            Settings(
                database_url=NO_DATABASE,
                connect_timeout_seconds=1,
                request_timeout_seconds=1,
                turn_timeout_seconds=1,
            )
        )
    )


@pytest.fixture(scope="session")
def base_url(app: FastAPI) -> Iterator[str]:
    """Where the application is served."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture(scope="session")
def http(base_url: str) -> Iterator[httpx.Client]:
    """One for the session: making one reads all certificates, 50 ms each time."""
    with httpx.Client(base_url=base_url, timeout=30) as opened:
        yield opened


@pytest.fixture
def wiring(app: FastAPI, database_url: str) -> Iterator[Wiring]:
    """The parts that the application uses in this test."""
    made = Wiring(Settings(database_url=database_url))
    app.state.use_cases = UseCases.of(made)
    yield made
    made.close()


@pytest.fixture
def keyed(app: FastAPI, database_url: str) -> Iterator[Wiring]:
    """The parts, where our own keys are asked for."""
    with guarded(app, database_url, auth="api_key") as wiring:
        yield wiring


@pytest.fixture
def asked(app: FastAPI, database_url: str, provider: StubProvider) -> Iterator[Wiring]:
    """The parts, where a provider is asked."""
    with asking(app, database_url, provider) as wiring:
        yield wiring


@pytest.fixture(scope="module")
def module_wiring(module_database_url: str) -> Iterator[Wiring]:
    """Parts for all tests of a module."""
    made = Wiring(Settings(database_url=module_database_url))
    yield made
    made.close()


@pytest.fixture
def refusing_api(app: FastAPI, http: httpx.Client, module_wiring: Wiring) -> Api:
    """For requests that are refused: nothing is written, so one database serves the module."""
    app.state.use_cases = UseCases.of(module_wiring)
    agent = http.post("/agents/register", json=agent_body()).json()
    return Api(client=http, agent_id=agent["id"])


@pytest.fixture
def client(http: httpx.Client, wiring: Wiring) -> httpx.Client:
    """Plain HTTP, nothing but the wire, to the test's own database."""
    return http


@pytest.fixture(scope="session")
def acp_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """A real agent; `acp_agent.url_for(mode)` says how it behaves."""
    with start_agent(tmp_path_factory.mktemp("agent"), "--envelopes") as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def agentex_client(request: pytest.FixtureRequest, base_url: str, wiring: Wiring) -> Iterator[Any]:
    """The published client, both of its kinds."""
    with a_client(request.param, base_url) as opened:
        yield opened


@pytest.fixture
def api(client: httpx.Client) -> Api:
    """A client with one registered agent."""
    agent = client.post("/agents/register", json=agent_body()).json()
    return Api(client=client, agent_id=agent["id"])
