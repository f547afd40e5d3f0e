"""Agents over HTTP: registration as the contract has it, and what others may see of them."""

from typing import Any

import httpx
import pytest

from tests.api.factories import Api, agent_body

AGENT_KEYS = {
    "id",
    "name",
    "description",
    "acp_type",
    "status",
    "status_reason",
    "created_at",
    "updated_at",
    "registration_metadata",
    "registered_at",
    "agent_input_type",
    "production_deployment_id",
}


def _register(client: httpx.Client, **changes: Any) -> httpx.Response:
    return client.post("/agents/register", json=agent_body(**changes))


def test_registering_answers_with_the_agent_and_its_key(client: httpx.Client) -> None:
    response = _register(client, registration_metadata={"card": {"a": [1, 2.5, None]}})

    assert response.status_code == 200
    agent = response.json()
    assert set(agent) == AGENT_KEYS | {"agent_api_key"}
    assert agent["status"] == "Ready"
    assert agent["registration_metadata"] == {"card": {"a": [1, 2.5, None]}}
    assert len(agent["agent_api_key"]) >= 32


def test_registering_again_updates_and_keeps_id_and_key(client: httpx.Client) -> None:
    first = _register(client).json()
    second = _register(client, acp_url="http://127.0.0.1:10", acp_type="sync").json()

    assert (second["id"], second["agent_api_key"]) == (first["id"], first["agent_api_key"])
    assert second["created_at"] == first["created_at"]
    assert second["registered_at"] > first["registered_at"]
    assert second["acp_type"] == "sync"
    assert len(client.get("/agents").json()) == 1


def test_a_new_agent_may_bring_its_id_and_another_agents_id_is_refused(
    client: httpx.Client,
) -> None:
    assert _register(client, agent_id="mine").json()["id"] == "mine"
    assert _register(client, agent_id="else").json()["id"] == "mine"

    response = _register(client, name="thief", agent_id="mine")
    assert response.status_code == 400
    assert response.json()["message"].startswith(
        "Agent id 'mine' belongs to an agent of another name"
    )


def test_an_agent_is_shown_by_id_and_by_name_without_its_address_and_key(api: Api) -> None:
    by_id = api.client.get(f"/agents/{api.agent_id}").json()
    assert set(by_id) == AGENT_KEYS
    assert api.client.get("/agents/name/reporter").json() == by_id
    assert api.client.get("/agents").json() == [by_id]


def test_agents_are_listed_newest_first_and_by_page(client: httpx.Client) -> None:
    for name in ("a", "b", "c"):
        _register(client, name=name)

    def names(query: str) -> list[str]:
        return [agent["name"] for agent in client.get(f"/agents?{query}").json()]

    assert names("") == ["c", "b", "a"]
    assert names("limit=2") == ["c", "b"]
    assert names("limit=2&page_number=2") == ["a"]
    assert names("page_number=1000000") == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/agents/nobody", "Item with id 'nobody' does not exist."),
        ("/agents/name/nobody", "Item with name 'nobody' does not exist."),
        ("/agents/%00", "Item with id '\N{REPLACEMENT CHARACTER}' does not exist."),
    ],
)
def test_an_unknown_agent_is_not_found(client: httpx.Client, path: str, message: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.json() == {"message": message, "code": 404, "data": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Has Capitals"),
        ("name", ""),
        ("name", None),
        ("acp_url", "ftp://host"),
        ("acp_url", "http://"),
        ("acp_url", "http://a b"),
        ("acp_url", "http://host:99999"),
        ("acp_url", "not a url"),
        ("acp_type", "telepathy"),
        ("description", "nul \0"),
        ("agent_input_type", "smell"),
        ("registration_metadata", {"deep\0": 1}),
        ("registration_metadata", []),
        ("agent_id", ""),
        ("agent_id", "a/b"),
    ],
)
def test_a_bad_registration_is_refused_by_its_field(
    client: httpx.Client, field: str, value: object
) -> None:
    response = _register(client, **{field: value})
    assert response.status_code == 422
    assert response.json()["status_code"] == 10422
    assert response.json()["message"].startswith(f"{field}: ")


def test_a_stock_agent_finds_a_platform_that_is_new_enough_and_registers_itself(
    client: httpx.Client,
) -> None:
    version = client.get("/openapi.json").json()["info"]["version"]
    assert tuple(int(part) for part in version.split(".")[:3]) >= (0, 1, 0)

    response = _register(
        client,
        acp_url="http://host.docker.internal:8000",
        agent_id=None,
        principal_context=None,
        registration_metadata=None,
        agent_input_type=None,
    )
    assert response.status_code == 200
    assert {"id", "name", "agent_api_key"} <= response.json().keys()
