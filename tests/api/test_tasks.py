"""Tasks over REST: how an agent says what became of its work."""

from typing import Any

import psycopg
import pytest

from tests.api.factories import Api

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
