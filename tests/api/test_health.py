"""Health, readiness and what the API says of itself."""

from collections.abc import Iterator
from importlib.metadata import version

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from schedules_pipeline.api.dependencies import UseCases
from schedules_pipeline.settings import Settings
from schedules_pipeline.wiring import Wiring
from tests.api.conftest import NO_DATABASE
from tests.api.factories import agent_body, schedule_body


def test_healthz_names_the_version_and_the_zone_rules(client: httpx.Client) -> None:
    body = client.get("/healthz").json()
    assert body["status"] == "healthy"
    assert body["tzdata_version"] == version("tzdata")


def test_ready_on_a_migrated_database_whatever_the_clock_does(
    client: httpx.Client, database_url: str
) -> None:
    def readiness() -> tuple[int, str]:
        response = client.get("/readyz")
        return response.status_code, response.json()["clock"]

    assert readiness() == (200, "never ticked")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into clock_heartbeat values (true, now(), 1, now())")
        assert readiness() == (200, "ticking")
        connection.execute("update clock_heartbeat set ticked_at = '2026-01-01T00:00:00Z'")
    assert readiness() == (200, "stopped or stalled since 2026-01-01T00:00:00Z")


def test_not_ready_before_the_migrations(
    app: FastAPI, http: httpx.Client, empty_database_url: str
) -> None:
    wiring = Wiring(Settings(database_url=empty_database_url))
    app.state.use_cases = UseCases.of(wiring)
    response = http.get("/readyz")
    assert response.status_code == 503
    assert "schedules migrate" in response.json()["database"]

    created = http.post("/agents/a/schedules", json=schedule_body())
    assert created.status_code == 503
    assert created.json()["code"] == 503
    assert "schedules migrate" in created.json()["message"]
    wiring.close()


@pytest.fixture
def own_database(app: FastAPI, own_database_url: str) -> Iterator[str]:
    """A database behind the API whose tables the test may change."""
    wiring = Wiring(Settings(database_url=own_database_url))
    app.state.use_cases = UseCases.of(wiring)
    yield own_database_url
    wiring.close()


def test_not_ready_after_half_of_the_migrations(http: httpx.Client, own_database: str) -> None:
    with psycopg.connect(own_database) as connection:
        connection.execute("update alembic_version set version_num = '0001'")
    response = http.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "not ready"


def test_without_a_database_requests_are_asked_to_come_again(
    app: FastAPI, http: httpx.Client
) -> None:
    wiring = Wiring(Settings(database_url=NO_DATABASE))
    app.state.use_cases = UseCases.of(wiring)
    for path in ("/agents", "/agents/a/schedules"):
        response = http.get(path)
        assert response.status_code == 503
        assert response.json() == {
            "message": "The database cannot be reached; try again.",
            "code": 503,
            "data": None,
        }
    assert http.get("/readyz").status_code == 503
    assert http.get("/healthz").status_code == 200
    wiring.close()


def test_an_error_nobody_thought_of_leaks_nothing(http: httpx.Client, own_database: str) -> None:
    with psycopg.connect(own_database) as connection:
        connection.execute("alter table agents add check (name <> 'cursed')")
    response = http.post("/agents/register", json=agent_body(name="cursed"))
    assert response.status_code == 500
    assert response.json() == {
        "message": "Something went wrong here; the server's log says what, under this "
        "x-request-id.",
        "code": 500,
        "data": None,
    }
    assert len(response.headers["x-request-id"]) == 32


def test_the_openapi_document_states_version_limits_and_error_shapes(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    stated = tuple(int(part) for part in document["info"]["version"].split("."))
    assert stated >= (0, 1, 0)

    schemas = document["components"]["schemas"]
    name = schemas["ScheduleCreate"]["properties"]["name"]
    assert (name["minLength"], name["maxLength"]) == (1, 64)
    content = schemas["InitialInput"]["properties"]["content"]
    assert content["maxLength"] == 262_144
    assert "HTTPValidationError" not in schemas
    create = document["paths"]["/agents/{agent_id}/schedules"]["post"]
    assert create["responses"].keys() == {
        "200", "400", "401", "403", "404", "408", "409", "413", "422", "429", "503",
    }  # fmt: skip


def test_every_link_of_the_openapi_document_leads_to_an_operation(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    known = {each["operationId"] for each in operations}
    links = [
        link
        for each in operations
        for answer in each["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert links
    assert {link["operationId"] for link in links} <= known


def test_a_statement_that_takes_too_long_is_given_up_and_says_so(
    app: FastAPI, http: httpx.Client, own_database: str
) -> None:
    wiring = Wiring(Settings(database_url=own_database), statement_seconds=0.2)
    app.state.use_cases = UseCases.of(wiring)
    with psycopg.connect(own_database) as other:
        other.execute("lock table agent_run_schedules")
        response = http.get("/schedules")
    assert response.status_code == 503
    assert response.json()["message"] == (
        "The database took too long over this; ask for less at a time, or try again later."
    )
    assert response.headers["retry-after"] == "1"
    assert http.get("/schedules").status_code == 200
    wiring.close()
