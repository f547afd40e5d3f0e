"""Events and messages over REST: what was sent and said, by hand and by fires."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from schedules_pipeline.domain.fire import FireState, event_id
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.api.factories import Api, schedule_body
from tests.api.talking import HI, Talk, talk_to
from tests.ledger import a_dispatch, a_fire, database_now, one, past_slice, query, seconds
from tests.services.working import work_slice


@pytest.fixture
def talk(client: httpx.Client, acp_agent: RunningAgent) -> Talk:
    return talk_to(client, acp_agent.url, "async")


@pytest.fixture
def task(talk: Talk) -> str:
    """A task; returns its id."""
    return str(talk.result("task/create", name="t")["id"])


def get(talk: Talk, path: str, **query: Any) -> Any:
    response = talk.client.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def say(talk: Talk, task: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"task_id": task, "content": HI | {"content": text}, **more}
    response = talk.client.post("/messages", json=body)
    assert response.status_code == 200, response.text
    said: dict[str, Any] = response.json()
    return said


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [each["content"]["content"] for each in found]


def test_what_an_agent_says_is_kept_changed_and_listed(talk: Talk, task: str) -> None:
    said = say(talk, task, "half", streaming_status="IN_PROGRESS")
    assert said["streaming_status"] == "IN_PROGRESS"
    body = {"task_id": task, "content": {"content": "whole"}, "streaming_status": "DONE"}
    changed = talk.client.put(f"/messages/{said['id']}", json=body).json()
    assert (changed["id"], changed["content"]["content"]) == (said["id"], "whole")
    assert (changed["streaming_status"], changed["created_at"]) == ("DONE", said["created_at"])
    assert changed["updated_at"] > said["updated_at"]
    assert get(talk, f"/messages/{said['id']}") == changed
    assert get(talk, "/messages", task_id=task) == [changed]


def test_several_at_once_keep_their_order_a_millisecond_apart(talk: Talk, task: str) -> None:
    contents = [HI | {"content": str(n)} for n in range(3)]
    body = {"task_id": task, "contents": contents, "created_at": "2026-01-01T00:00:00Z"}
    said = talk.client.post("/messages/batch", json=body).json()
    assert texts(said) == ["0", "1", "2"]
    assert [each["created_at"] for each in said] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.001000Z",
        "2026-01-01T00:00:00.002000Z",
    ]
    assert texts(get(talk, "/messages", task_id=task)) == ["2", "1", "0"]
    updates = {each["id"]: {"content": "new"} for each in said[:2]}
    changed = talk.client.put("/messages/batch", json={"task_id": task, "updates": updates})
    assert texts(changed.json()) == ["new", "new"]
    assert texts(get(talk, "/messages", task_id=task)) == ["2", "new", "new"]


def test_of_several_changes_all_happen_or_none(talk: Talk, task: str) -> None:
    said = say(talk, task, "old")
    updates = {said["id"]: {"content": "new"}, "nobody": {"content": "new"}}
    response = talk.client.put("/messages/batch", json={"task_id": task, "updates": updates})
    assert response.status_code == 404
    assert response.json()["message"] == "Item with id 'nobody' does not exist."
    assert texts(get(talk, "/messages", task_id=task)) == ["old"]


def test_said_in_one_moment_what_was_said_first_stands_first(talk: Talk, task: str) -> None:
    for n in range(5):
        say(talk, task, str(n), created_at="2026-01-01T00:00:00Z")
    found = get(talk, "/messages", task_id=task, order_direction="asc")
    assert texts(found) == ["0", "1", "2", "3", "4"]
    assert texts(get(talk, "/messages", task_id=task, limit=2, page_number=2)) == ["2", "1"]
    assert get(talk, "/messages", task_id=task, page_number=1_000_000, limit=1_000) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"content": {"type": "text"}}, ["b", "a"]),
        ([{"content": {"author": "agent"}}], ["b"]),
        ([{"content": {"author": None, "content": "a"}}], ["a"]),
        ([{"content": {"content": "a"}}, {"content": {"content": "b"}}], ["b", "a"]),
        ([{"content": {"content": "a"}, "exclude": True}, {"content": {"type": "text"}}], ["b"]),
        ([{"streaming_status": "IN_PROGRESS"}], ["b"]),
        ([{"content": {"content": "a"}, "streaming_status": "IN_PROGRESS"}], []),
        ([{}], ["b", "a", None]),
        ([], ["b", "a", None]),
    ],
)
def test_messages_are_filtered(talk: Talk, task: str, filters: Any, expected: list[Any]) -> None:
    data = {"task_id": task, "content": {"type": "data", "data": {"x": {"y": 1}}}}
    assert talk.client.post("/messages", json=data).status_code == 200
    say(talk, task, "a")
    body = {"content": "b", "author": "agent"}
    talk.client.post(
        "/messages", json={"task_id": task, "content": body, "streaming_status": "IN_PROGRESS"}
    )
    found = get(talk, "/messages", task_id=task, filters=json.dumps(filters))
    assert [each["content"].get("content") for each in found] == expected


def test_pages_by_cursor_stand_while_more_is_being_said(talk: Talk, task: str) -> None:
    for n in range(5):
        say(talk, task, str(n))
    first = get(talk, "/messages/paginated", task_id=task, limit=2)
    assert (texts(first["data"]), first["has_more"]) == (["4", "3"], True)
    say(talk, task, "5")
    cursor = first["next_cursor"]
    second = get(talk, "/messages/paginated", task_id=task, limit=2, cursor=cursor)
    assert texts(second["data"]) == ["2", "1"]
    cursor = second["next_cursor"]
    last = get(talk, "/messages/paginated", task_id=task, limit=2, cursor=cursor)
    assert (texts(last["data"]), last["has_more"], last["next_cursor"]) == (["0"], False, None)
    newer = {"task_id": task, "limit": 3, "direction": "newer"}
    up = get(talk, "/messages/paginated", **newer, cursor=second["next_cursor"])
    assert (texts(up["data"]), up["has_more"]) == (["2", "3", "4"], True)


@pytest.mark.parametrize(
    ("path", "params", "status", "message"),
    [
        ("/messages", {"task_id": "no"}, 404, "Item with id 'no' does not exist."),
        ("/messages/paginated", {"task_id": "no"}, 404, "Item with id 'no' does not exist."),
        ("/messages/no", {}, 404, "Item with id 'no' does not exist."),
        ("/messages/no%23input", {}, 404, "Item with id 'no#input' does not exist."),
        ("/messages/%00", {}, 404, "Item with id '\N{REPLACEMENT CHARACTER}' does not exist."),
        ("/events/no", {}, 404, "Item with id 'no' does not exist."),
        ("/events", {"task_id": "no", "agent_id": "a"}, 404, "Item with id 'no' does not exist."),
        ("/events", {"agent_id": "a"}, 422, "task_id: Field required"),
        ("/messages", {}, 422, "task_id: Field required"),
        ("/messages", {"task_id": "no", "limit": "0"}, 422, "limit: "),
        ("/messages", {"task_id": "no", "limit": "1001"}, 422, "limit: "),
        ("/messages", {"task_id": "no", "page_number": "1000001"}, 422, "page_number: "),
        ("/messages", {"task_id": "no", "order_by": "position"}, 422, "order_by: "),
        ("/messages", {"task_id": "no", "filters": "{"}, 422, "filters: is not JSON; quote"),
        ("/messages", {"task_id": "no", "filters": "[" * 4_000}, 422, "filters: is not JSON"),
        ("/messages", {"task_id": "no", "filters": "[1]"}, 422, "filters: must be at most 100"),
        ("/messages", {"task_id": "no", "filters": '{"content":1}'}, 422, "filters: must be"),
        ("/messages", {"task_id": "no", "filters": '{"content":{"a":"\\u0000"}}'}, 422, "filters"),
        ("/messages/paginated", {"task_id": "no", "cursor": "x"}, 422, "cursor: is not a next_"),
        ("/messages/paginated", {"task_id": "no", "direction": "up"}, 422, "direction: "),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field(
    refusing_api: Api, path: str, params: Any, status: int, message: str
) -> None:
    response = refusing_api.client.get(path, params=params)
    assert response.status_code == status, response.text
    assert response.json()["message"].startswith(message)


def test_an_unknown_event_of_a_task_is_404_and_another_agents_are_none(
    talk: Talk, task: str, acp_agent: RunningAgent
) -> None:
    talk.result("event/send", task_id=task, content=HI)
    other = talk_to(talk.client, acp_agent.url, "async", "other")
    assert get(talk, "/events", task_id=task, agent_id=other.agent_id) == []
    asked = {"task_id": task, "agent_id": talk.agent_id, "last_processed_event_id": "no"}
    response = talk.client.get("/events", params=asked)
    assert response.status_code == 404
    assert response.json()["message"] == "Item with id 'no' does not exist."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"task_id": "no", "content": {"content": "x" * 262_145}}, "content.text.content: "),
        ({"task_id": "no", "content": {"content": "\0"}}, "content.text.content: holds a NUL"),
        ({"task_id": "no", "content": None}, "content: type must be text, data"),
        ({"task_id": "no", "content": HI, "created_at": "now"}, "created_at: must be an ISO"),
        ({"task_id": "no", "content": HI, "created_at": "9999-12-31T00:00:00Z"}, "created_at: "),
        ({"task_id": "no", "content": HI, "streaming_status": "SOON"}, "streaming_status: "),
        ({"task_id": "", "content": HI}, "task_id: "),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_field(
    refusing_api: Api, body: Any, message: str
) -> None:
    response = refusing_api.client.post("/messages", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["message"].startswith(message)


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "/messages", {"task_id": "no", "content": HI}),
        ("POST", "/messages/batch", {"task_id": "no", "contents": [HI]}),
        ("PUT", "/messages/m", {"task_id": "no", "content": HI}),
        ("PUT", "/messages/batch", {"task_id": "no", "updates": {"m": HI}}),
    ],
)
def test_nothing_is_said_in_a_task_that_there_is_not(
    refusing_api: Api, verb: str, path: str, body: Any
) -> None:
    response = refusing_api.client.request(verb, path, json=body)
    assert response.status_code == 404
    assert response.json()["message"] == "Item with id 'no' does not exist."


def test_two_who_change_the_same_messages_crosswise_both_succeed(talk: Talk, task: str) -> None:
    ids = [say(talk, task, str(n))["id"] for n in range(10)]

    def change(order: list[str]) -> int:
        updates = {each: {"content": "new"} for each in order}
        body = {"task_id": task, "updates": updates}
        return talk.client.put("/messages/batch", json=body).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(change, [ids, ids[::-1]] * 10))
    assert set(statuses) == {200}


# --- fires ----------------------------------------------------------------------------------------


def a_schedule(talk: Talk, store: PostgresStore) -> Schedule:
    """One that the API made, so that its history says what it told its agent."""
    body = schedule_body(
        fire_at="2090-01-01T00:00:00Z", initial_input={"content": "good morning", "author": "user"}
    )
    made = talk.client.post(f"/agents/{talk.agent_id}/schedules", json=body).json()
    schedule = store.run(lambda tx: tx.schedules.find(made["id"]))
    assert schedule is not None
    return schedule


def test_a_fires_input_is_the_first_event_of_its_task(
    talk: Talk, acp_agent: RunningAgent, store: PostgresStore, database_url: str
) -> None:
    schedule, key = a_schedule(talk, store), past_slice(store)
    fire = a_fire(store, schedule, key, database_now(store) - seconds(1))
    work_slice(database_url, key)
    task = one(store, "select task_id from fires")
    by_hand = talk.result("event/send", task_id=task, content=HI)
    asked = {"task_id": task, "agent_id": talk.agent_id}
    of_fire, second = get(talk, "/events", **asked)
    (told, _) = [each for each in acp_agent.received("event/send") if each["task_id"] == task]
    assert told["envelope"]["params"]["event"]["id"] == of_fire["id"] == event_id(fire)
    assert told["envelope"]["params"]["event"]["content"] == of_fire["content"]
    assert told["envelope"]["params"]["event"]["sequence_id"] == of_fire["sequence_id"] == 1
    assert second == by_hand
    assert get(talk, "/events", **asked, last_processed_event_id=of_fire["id"]) == [by_hand]
    assert get(talk, "/events", **asked, limit=1) == [of_fire]
    assert get(talk, "/messages", task_id=task) == []


def test_a_fires_input_is_what_its_version_of_the_schedule_said(
    talk: Talk, store: PostgresStore, database_url: str
) -> None:
    schedule, key = a_schedule(talk, store), past_slice(store)
    a_fire(store, schedule, key, database_now(store) - seconds(1))
    work_slice(database_url, key)
    changed = {"initial_input": {"content": "good evening"}}
    talk.client.patch(f"/agents/{talk.agent_id}/schedules/{schedule.id}", json=changed)
    asked = {"task_id": one(store, "select task_id from fires"), "agent_id": talk.agent_id}
    assert texts(get(talk, "/events", **asked)) == ["good morning"]


def test_before_the_input_may_go_out_there_is_no_event(talk: Talk, store: PostgresStore) -> None:
    schedule, key = a_schedule(talk, store), past_slice(store)
    run = a_dispatch(store, key)
    at = database_now(store)
    a_fire(store, schedule, key, at, FireState.CLAIMED, run=run, task_id="task-1")
    query(
        store,
        """
        insert into tasks (id, name, agent_id)
        select task_id, 'scheduled-run:' || schedule_id || ':' || id, agent_id from fires
        """,
    )
    asked = {"task_id": one(store, "select task_id from fires"), "agent_id": talk.agent_id}
    assert get(talk, "/events", **asked) == []
    query(
        store,
        "update fires set state = 'task_created', schedule_version = 1, "
        "task_created_at = statement_timestamp()",
    )
    assert texts(get(talk, "/events", **asked)) == ["good morning"]


def test_a_fires_turn_is_its_input_and_the_beginning_of_the_answer(
    client: httpx.Client, acp_agent: RunningAgent, store: PostgresStore, database_url: str
) -> None:
    talk = talk_to(client, acp_agent.url, "sync")
    schedule, key = a_schedule(talk, store), past_slice(store)
    fire = a_fire(store, schedule, key, database_now(store) - seconds(1))
    work_slice(database_url, key)
    task = one(store, "select task_id from fires")
    said, answered = get(talk, "/messages", task_id=task, order_direction="asc")
    assert (said["id"], answered["id"]) == (f"{fire}#input", f"{fire}#reply")
    assert (said["content"]["author"], answered["content"]["author"]) == ("user", "agent")
    assert texts([said, answered]) == ["good morning", "You said: good morning"]
    for message in (said, answered):
        quoted = message["id"].replace("#", "%23")
        assert get(talk, f"/messages/{quoted}") == message
        body = {"task_id": task, "content": HI}
        assert talk.client.put(f"/messages/{quoted}", json=body).status_code == 404
    talk.result("message/send", task_id=task, content=HI)
    page = get(talk, "/messages/paginated", task_id=task, limit=2, direction="newer")
    assert page["data"] == [said, answered]
    rest = get(
        talk, "/messages/paginated", task_id=task, direction="newer", cursor=page["next_cursor"]
    )
    assert texts(rest["data"]) == ["hi", "You said: hi"]
    assert get(talk, "/events", task_id=task, agent_id=talk.agent_id) == []
