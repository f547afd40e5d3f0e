"""Tasks over REST: which there are, what they are called, and what became of them."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.api.factories import Api, agent_body

ENDS = {
    "complete": "COMPLETED",
    "fail": "FAILED",
    "cancel": "CANCELED",
    "terminate": "TERMINATED",
    "timeout": "TIMED_OUT",
}


@pytest.fixture
def task(api: Api, database_url: str) -> str:
    """A running task of the agent; returns its id."""
    api.created()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into tasks (id, name, agent_id, params, task_metadata)
            select 'task-1', 'scheduled-run:s:f-2026-06-24T09:00:00Z', id, '{"p": 1}', '{"a": 2}'
            from agents limit 1
            """
        )
    return "task-1"


def shown(api: Api, path: str) -> dict[str, Any]:
    response = api.client.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_task_is_shown_by_id_and_by_name(api: Api, task: str) -> None:
    found = shown(api, f"/tasks/{task}")
    assert set(found) == {
        "id",
        "name",
        "agent_id",
        "status",
        "status_reason",
        "params",
        "task_metadata",
        "created_at",
        "updated_at",
        "cleaned_at",
        "agents",
    }
    assert (found["status"], found["params"], found["task_metadata"]) == (
        "RUNNING",
        {"p": 1},
        {"a": 2},
    )
    assert shown(api, f"/tasks/name/{found['name']}") == found


@pytest.mark.parametrize(("verb", "status"), ENDS.items())
def test_a_task_ends_once(api: Api, task: str, verb: str, status: str) -> None:
    ended = api.client.post(f"/tasks/{task}/{verb}", json={"reason": "because"})
    assert ended.status_code == 200, ended.text
    body = ended.json()
    assert (body["status"], body["status_reason"]) == (status, "because")
    assert body["updated_at"] > body["created_at"]
    again = api.client.post(f"/tasks/{task}/complete")
    assert again.status_code == 400
    assert again.json()["message"] == (
        f"Task 'task-1' is {status}; only a task that is RUNNING or INTERRUPTED can become "
        "COMPLETED."
    )


def test_an_interrupted_task_may_go_on_to_its_end(api: Api, task: str) -> None:
    assert api.client.post(f"/tasks/{task}/interrupt").json()["status"] == "INTERRUPTED"
    assert api.client.post(f"/tasks/{task}/complete", json={}).json()["status"] == "COMPLETED"


@pytest.mark.parametrize("path", ["/tasks/nobody", "/tasks/nobody/complete", "/tasks/%00/fail"])
def test_an_unknown_task_is_404(api: Api, path: str) -> None:
    verb = api.client.get if path.count("/") == 2 else api.client.post
    response = verb(path)
    assert response.status_code == 404
    assert response.json()["message"].startswith("Item with id '")
    assert shown(api, "/healthz")


def test_an_unknown_name_is_404(api: Api) -> None:
    response = api.client.get("/tasks/name/nobody")
    assert response.status_code == 404
    assert response.json()["message"] == "Item with name 'nobody' does not exist."


@pytest.mark.parametrize("body", [{"reason": 5}, {"reason": "x" * 10_001}, {"reason": "a\0b"}])
def test_a_bad_reason_is_422_and_changes_nothing(api: Api, task: str, body: Any) -> None:
    assert api.client.post(f"/tasks/{task}/complete", json=body).status_code == 422
    assert shown(api, f"/tasks/{task}")["status"] == "RUNNING"


# --- lists and changes ----------------------------------------------------------------------------


@pytest.fixture
def tasks(api: Api, database_url: str) -> str:
    """Two of the agent's and one of another's; returns the other's id."""
    body = agent_body(name="other")
    other: str = api.client.post("/agents/register", json=body).json()["id"]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into tasks (id, name, agent_id, status, task_metadata, params, created_at)
            values ('1', 'b', %(mine)s, 'RUNNING', '{"team": "x", "n": {"a": 1, "b": 2}}', '{}',
                    '2026-01-01T00:00:00Z'),
                   ('2', 'a', %(mine)s, 'FAILED', '{"team": "y"}', null, '2026-01-02T00:00:00Z'),
                   ('3', null, %(other)s, 'RUNNING', '{"team": "x"}', '{}', '2026-01-03T00:00:00Z')
            """,
            {"mine": api.agent_id, "other": other},
        )
    return other


def listed(api: Api, **query: Any) -> list[str]:
    response = api.client.get("/tasks", params=query)
    assert response.status_code == 200, response.text
    return [task["id"] for task in response.json()]


def test_tasks_are_listed_newest_first_without_their_params(api: Api, tasks: str) -> None:
    found = api.client.get("/tasks").json()
    assert [task["id"] for task in found] == ["3", "2", "1"]
    assert all("params" not in task and task["agents"] is None for task in found)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"agent_name": "reporter"}, ["2", "1"]),
        ({"agent_name": "nobody"}, []),
        ({"agent_id": "nobody"}, []),
        ({"agent_id": "\0"}, []),
        ({"status": "RUNNING"}, ["3", "1"]),
        ({"task_metadata": '{"team": "x"}'}, ["3", "1"]),
        ({"task_metadata": '{"n": {"b": 2}}'}, ["1"]),
        ({"task_metadata": '{"team": "x"}', "agent_name": "reporter"}, ["1"]),
        ({"task_metadata": "{}"}, ["3", "2", "1"]),
        ({"order_by": "name", "order_direction": "asc"}, ["2", "1", "3"]),
        ({"order_direction": "asc"}, ["1", "2", "3"]),
        ({"limit": 1}, ["3"]),
        ({"limit": 1, "page_number": 3}, ["1"]),
        ({"limit": 1000, "page_number": 1_000_000}, []),
    ],
)
def test_tasks_are_filtered_sorted_and_paged(
    api: Api, tasks: str, query: Any, expected: list[str]
) -> None:
    assert listed(api, **query) == expected


def test_tasks_of_an_agent(api: Api, tasks: str) -> None:
    assert listed(api, agent_id=api.agent_id) == ["2", "1"]
    assert listed(api, agent_id=tasks) == ["3"]


def test_a_tasks_agent_is_shown_when_it_is_asked_for(api: Api, tasks: str) -> None:
    agent = api.client.get(f"/agents/{api.agent_id}").json()
    for path in ("/tasks/1", "/tasks/name/b", "/tasks"):
        shown = api.client.get(path, params={"relationships": "agents"}).json()
        task = shown[-1] if isinstance(shown, list) else shown
        assert task["agents"] == [agent]


def test_the_agents_of_a_task(api: Api, tasks: str) -> None:
    def names(**query: Any) -> list[str]:
        return [agent["name"] for agent in api.client.get("/agents", params=query).json()]

    assert names(task_id="1") == ["reporter"]
    assert names(task_id="nobody") == []
    assert names(order_by="name", order_direction="asc") == ["other", "reporter"]


def test_agents_are_found_by_what_their_card_says(api: Api) -> None:
    card = {"agent_card": {"metadata": {"can": {"speak": True}, "x": 1}}}
    body = agent_body(name="carded", registration_metadata=card)
    api.client.post("/agents/register", json=body)

    def names(metadata: str) -> list[str]:
        query = {"agent_card_metadata": metadata}
        return [agent["name"] for agent in api.client.get("/agents", params=query).json()]

    assert names('{"can": {"speak": true}}') == ["carded"]
    assert names('{"can": {"speak": false}}') == []


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("/tasks", {"status": "DONE"}, "status: "),
        ("/tasks", {"order_by": "params; drop"}, "order_by: "),
        ("/tasks", {"order_direction": "up"}, "order_direction: "),
        ("/tasks", {"page_number": "0"}, "page_number: "),
        ("/tasks", {"page_number": "9" * 30}, "page_number: "),
        ("/tasks", {"limit": "1001"}, "limit: "),
        ("/tasks", {"relationships": "creator"}, "relationships.0: "),
        ("/tasks", {"task_metadata": "{"}, "task_metadata: is not JSON; quote names and texts"),
        ("/tasks", {"task_metadata": "[1]"}, "task_metadata: must be a JSON object, such as"),
        ("/tasks", {"task_metadata": '{"a": 1e999}'}, "task_metadata: holds a number that is not"),
        ("/tasks", {"task_metadata": '{"a": "\\u0000"}'}, "task_metadata: holds a NUL"),
        ("/tasks", {"task_metadata": '{"a": "\\ud800"}'}, "task_metadata: holds half of a"),
        ("/tasks", {"task_metadata": '{"a":' * 40 + "1" + "}" * 40}, "task_metadata: is nested"),
        ("/tasks", {"task_metadata": "[" * 4_000}, "task_metadata: is not JSON"),
        ("/agents", {"agent_card_metadata": "1"}, "agent_card_metadata: must be a JSON object"),
        ("/agents", {"order_by": "api_key"}, "order_by: "),
    ],
)
def test_a_bad_filter_is_refused_by_its_field(
    refusing_api: Api, path: str, query: Any, message: str
) -> None:
    response = refusing_api.client.get(path, params=query)
    assert response.status_code == 422, response.text
    assert response.json()["message"].startswith(message)


def test_metadata_is_replaced_and_params_are_merged(api: Api, task: str) -> None:
    def put(path: str, **body: Any) -> dict[str, Any]:
        response = api.client.put(path, json=body)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    changed = put(f"/tasks/{task}", task_metadata={"b": 1})
    assert (changed["task_metadata"], changed["params"]) == ({"b": 1}, {"p": 1})
    changed = put(f"/tasks/{task}", merge_params={"q": {"r": 2}, "p": None})
    assert (changed["task_metadata"], changed["params"]) == ({"b": 1}, {"p": None, "q": {"r": 2}})
    same = put(f"/tasks/name/{changed['name']}", task_metadata=None, merge_params=None)
    assert same | {"updated_at": 0} == changed | {"updated_at": 0}
    assert put(f"/tasks/{task}", task_metadata={})["task_metadata"] == {}


def test_of_twenty_who_merge_at_once_all_are_there_in_the_end(api: Api, task: str) -> None:
    def merge(n: int) -> int:
        body = {"merge_params": {str(n): n}}
        return api.client.put(f"/tasks/{task}", json=body).status_code

    with ThreadPoolExecutor(10) as threads:
        assert set(threads.map(merge, range(20))) == {200}
    assert len(shown(api, f"/tasks/{task}")["params"]) == 21


def test_params_do_not_grow_without_end(api: Api, task: str) -> None:
    for key in ("a", "b"):
        response = api.client.put(f"/tasks/{task}", json={"merge_params": {key: "x" * 60_000}})
    assert response.status_code == 422
    assert response.json()["message"] == (
        "merge_params: the task's params would be larger than 65,536 bytes; keep them elsewhere, "
        "send a link"
    )
    assert set(shown(api, f"/tasks/{task}")["params"]) == {"p", "a"}


@pytest.mark.parametrize("path", ["/tasks/nobody", "/tasks/name/nobody"])
def test_an_unknown_task_cannot_be_changed(api: Api, path: str) -> None:
    response = api.client.put(path, json={"merge_params": {"a": 1}})
    assert response.status_code == 404
    assert "'nobody' does not exist." in response.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"task_metadata": []},
        {"task_metadata": {"a\0": 1}},
        {"merge_params": "x"},
        {"merge_params": {"a": "\ud800"}},
        {"merge_params": {"a": "x" * 70_000}},
    ],
)
def test_a_bad_change_is_422(api: Api, task: str, body: Any) -> None:
    response = api.client.put(
        f"/tasks/{task}",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 422
    assert shown(api, f"/tasks/{task}")["task_metadata"] == {"a": 2}
