"""Agents by hand over JSON-RPC: real agents, well and ill-behaved, over loopback HTTP."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from schedules_pipeline.errors import Busy
from schedules_pipeline.services.places import Places
from tests.agents import RunningAgent
from tests.api.talking import HI, Talk, talk_to

SAID = HI | {"style": "static", "format": "plain", "attachments": None}


@pytest.fixture
def asynchronous(client: httpx.Client, acp_agent: RunningAgent) -> Talk:
    return talk_to(client, acp_agent.url, "async")


@pytest.fixture
def synchronous(client: httpx.Client, acp_agent: RunningAgent) -> Talk:
    return talk_to(client, acp_agent.url, "sync")


def get(talk: Talk, path: str, **query: Any) -> Any:
    response = talk.client.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


# --- tasks ----------------------------------------------------------------------------------------


def test_a_task_is_made_and_its_agent_told(asynchronous: Talk, acp_agent: RunningAgent) -> None:
    task = asynchronous.result(
        "task/create", name="nightly", params={"p": 1}, task_metadata={"team": "x"}
    )
    assert (task["name"], task["status"]) == ("nightly", "RUNNING")
    assert task["status_reason"] == "Task forwarded to ACP server"
    assert (task["params"], task["task_metadata"]) == ({"p": 1}, {"team": "x"})
    assert task["agent_id"] == asynchronous.agent_id
    (told,) = asynchronous.received(acp_agent, task["id"])
    assert told["envelope"]["method"] == "task/create"
    assert told["envelope"]["id"] == f"AgentRPCMethod.TASK_CREATE-{task['id']}"
    assert told["envelope"]["params"]["params"] == {"p": 1}
    assert told["envelope"]["params"]["task"]["task_metadata"] == {"team": "x"}
    assert get(asynchronous, "/tasks/name/nightly")["id"] == task["id"]


def test_the_same_name_is_the_same_task_with_new_params_and_old_metadata(
    asynchronous: Talk, acp_agent: RunningAgent
) -> None:
    first = asynchronous.result("task/create", name="n", params={"p": 1}, task_metadata={"a": 1})
    again = asynchronous.result("task/create", name="n", params={"p": 2}, task_metadata={"b": 1})
    assert again["id"] == first["id"]
    assert (again["params"], again["task_metadata"]) == ({"p": 2}, {"a": 1})
    as_it_is = asynchronous.result("task/create", name="n")
    assert as_it_is["params"] == {"p": 2}
    assert len(asynchronous.received(acp_agent, first["id"])) == 3


def test_tasks_without_a_name_are_new_ones(asynchronous: Talk) -> None:
    one, other = (asynchronous.result("task/create") for _ in range(2))
    assert one["name"] is None
    assert one["id"] != other["id"]


def test_a_synchronous_agent_is_not_told_of_tasks(
    synchronous: Talk, acp_agent: RunningAgent
) -> None:
    task = synchronous.result("task/create", name="quiet")
    assert synchronous.received(acp_agent, task["id"]) == []


def test_of_twenty_who_make_one_name_at_once_all_get_the_one_task(
    asynchronous: Talk, database_url: str
) -> None:
    with ThreadPoolExecutor(20) as threads:
        tasks = list(
            threads.map(
                lambda n: asynchronous.result("task/create", name="one", params={"n": n}), range(20)
            )
        )
    assert len({task["id"] for task in tasks}) == 1
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from tasks").fetchone() == (1,)


def test_another_agents_task_is_refused(asynchronous: Talk, acp_agent: RunningAgent) -> None:
    task = asynchronous.result("task/create", name="mine")
    other = talk_to(asynchronous.client, acp_agent.url, "async", name="other")
    refusal = f"Task 'mine' is another agent's, not that of agent '{other.agent_id}'."
    assert other.error("task/create", name="mine", params={"stolen": True}) == refusal
    assert other.error("event/send", task_id=task["id"], content=HI) == refusal
    assert other.error("task/cancel", task_name="mine") == refusal
    assert get(asynchronous, f"/tasks/{task['id']}")["params"] is None


def test_nobody_makes_a_task_that_a_fire_would_take_for_its_own(asynchronous: Talk) -> None:
    response = asynchronous.post("task/create", name="scheduled-run:s:f")
    assert response.status_code == 422
    assert response.json()["message"] == (
        "name: tasks that are called 'scheduled-run:…' are made by fires; choose another"
    )


def test_a_task_whose_agent_cannot_be_told_has_failed_and_goes_on_once_it_can(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, "http://127.0.0.1:9", "async")
    message = talk.error("task/create", name="t")
    assert message.startswith("The agent cannot be reached at http://127.0.0.1:9")
    failed = get(talk, "/tasks/name/t")
    assert failed["status"] == "FAILED"
    assert failed["status_reason"] == f"The agent was not told of it: {message}"
    talk_to(client, acp_agent.url, "async")
    assert talk.result("task/create", name="t")["status"] == "RUNNING"
    talk_to(client, "http://127.0.0.1:9", "async")
    talk.error("task/create", name="t")
    # It was told once: that it was not told again takes nothing from it.
    assert get(talk, "/tasks/name/t")["status"] == "RUNNING"


def test_what_an_agent_said_of_its_task_is_not_undone_by_telling_it_again(
    asynchronous: Talk,
) -> None:
    task = asynchronous.result("task/create", name="t")
    asynchronous.client.post(f"/tasks/{task['id']}/fail", json={"reason": "no luck"})
    again = asynchronous.result("task/create", name="t")
    assert (again["status"], again["status_reason"]) == ("FAILED", "no luck")


# --- events ---------------------------------------------------------------------------------------


def test_an_event_reaches_the_agent_and_is_kept(
    asynchronous: Talk, acp_agent: RunningAgent
) -> None:
    task = asynchronous.result("task/create", name="t")
    first = asynchronous.result("event/send", task_name="t", content={"content": "hi"})
    second = asynchronous.result("event/send", task_id=task["id"])
    assert first["content"] == SAID
    assert second["content"] is None
    assert second["sequence_id"] > first["sequence_id"] > 1_000_000
    told = asynchronous.received(acp_agent, task["id"], "event/send")
    assert [each["envelope"]["params"]["event"]["id"] for each in told] == [
        first["id"],
        second["id"],
    ]
    assert told[0]["envelope"]["params"]["event"] == first
    assert told[0]["envelope"]["params"]["request"] is None
    assert told[0]["idempotency_key"] == first["id"]
    query = {"task_id": task["id"], "agent_id": asynchronous.agent_id}
    assert get(asynchronous, "/events", **query) == [first, second]
    assert get(asynchronous, "/events", **query, limit=1) == [first]
    assert get(asynchronous, "/events", **query, last_processed_event_id=first["id"]) == [second]
    assert get(asynchronous, f"/events/{first['id']}") == first


def test_an_event_that_the_agent_did_not_take_is_kept_all_the_same(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, acp_agent.url_for("input-error500"), "async")
    task = talk.result("task/create", name="t")
    assert talk.error("event/send", task_id=task["id"], content=HI).startswith(
        "The agent answered HTTP 500"
    )
    assert get(talk, f"/tasks/{task['id']}")["status"] == "RUNNING"
    query = {"task_id": task["id"], "agent_id": talk.agent_id}
    assert [event["content"] for event in get(talk, "/events", **query)] == [SAID]


def test_events_of_one_task_become_visible_in_the_order_of_their_numbers(
    asynchronous: Talk,
) -> None:
    task = asynchronous.result("task/create", name="t")
    query = {"task_id": task["id"], "agent_id": asynchronous.agent_id}
    known: list[str] = []
    with ThreadPoolExecutor(8) as threads:
        sent = [
            threads.submit(asynchronous.result, "event/send", task_id=task["id"], content=HI)
            for _ in range(40)
        ]
        while len(known) < 40:
            after = {"last_processed_event_id": known[-1]} if known else {}
            known += [event["id"] for event in get(asynchronous, "/events", **query, **after)]
    assert sorted(known) == sorted(each.result()["id"] for each in sent)


# --- messages -------------------------------------------------------------------------------------


def test_a_message_is_answered_and_both_are_kept(
    synchronous: Talk, acp_agent: RunningAgent
) -> None:
    (reply,) = synchronous.result(
        "message/send", task_name="chat", content=HI, task_params={"p": 1}
    )
    assert reply["content"] == {"type": "text", "author": "agent", "content": "You said: hi"}
    assert reply["streaming_status"] == "DONE"
    task = get(synchronous, "/tasks/name/chat")
    assert (reply["task_id"], task["params"]) == (task["id"], {"p": 1})
    (told,) = synchronous.received(acp_agent, task["id"])
    assert told["envelope"]["params"]["stream"] is True
    assert told["envelope"]["params"]["content"] == SAID
    newest, oldest = get(synchronous, "/messages", task_id=task["id"])
    assert newest == reply
    assert (oldest["content"], oldest["id"]) == (SAID, told["idempotency_key"])
    assert get(synchronous, f"/messages/{reply['id']}") == reply


def test_a_message_without_a_task_makes_one(synchronous: Talk) -> None:
    (one,) = synchronous.result("message/send", content=HI)
    (other,) = synchronous.result("message/send", content=HI)
    assert one["task_id"] != other["task_id"]


def test_a_message_in_pieces_is_put_together(client: httpx.Client, acp_agent: RunningAgent) -> None:
    talk = talk_to(client, acp_agent.url_for("stream"), "sync")
    (reply,) = talk.result("message/send", content=HI)
    assert reply["content"]["content"] == "Hello world"


def test_content_of_every_kind_reaches_the_agent_as_it_is(
    asynchronous: Talk, acp_agent: RunningAgent
) -> None:
    task = asynchronous.result("task/create")
    author = {"author": "user", "style": "static"}
    kinds: list[dict[str, Any]] = [
        {
            "type": "text",
            **author,
            "format": "code",
            "content": "ü\n",
            "attachments": [{"file_id": "f", "name": "n", "size": 3, "type": "text/plain"}],
        },
        {"type": "data", **author, "data": {"a": [1, None, {"b": 1.5}]}},
        {"type": "tool_request", **author, "tool_call_id": "1", "name": "t", "arguments": {}},
        {
            "type": "tool_response",
            **author,
            "tool_call_id": "1",
            "name": "t",
            "content": [1],
            "is_error": None,
        },
        {"type": "reasoning", **author, "summary": ["s"], "content": None},
    ]
    for content in kinds:
        assert (
            asynchronous.result("event/send", task_id=task["id"], content=content)["content"]
            == content
        )
    told = asynchronous.received(acp_agent, task["id"], "event/send")
    assert [each["envelope"]["params"]["event"]["content"] for each in told] == kinds


# --- stopping -------------------------------------------------------------------------------------


def test_a_task_is_cancelled_at_the_agent_and_here_and_again_is_the_same(
    asynchronous: Talk, acp_agent: RunningAgent
) -> None:
    task = asynchronous.result("task/create", name="t")
    for _ in range(2):
        assert asynchronous.result("task/cancel", task_name="t")["status"] == "CANCELED"
    assert len(asynchronous.received(acp_agent, task["id"], "task/cancel")) == 2


def test_an_agent_that_does_not_hear_of_a_cancel_has_a_task_that_runs_on(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, acp_agent.url, "async")
    task = talk.result("task/create", name="t")
    talk_to(client, acp_agent.url_for("error500"), "async")
    talk.error("task/cancel", task_name="t")
    assert get(talk, f"/tasks/{task['id']}")["status"] == "RUNNING"


@pytest.mark.parametrize("acp_type", ["sync", "async"])
def test_an_interrupted_task_goes_on_with_the_next_input(
    client: httpx.Client, acp_agent: RunningAgent, acp_type: str
) -> None:
    talk = talk_to(client, acp_agent.url, acp_type)
    task = talk.result("task/create", name="t")
    assert talk.result("task/interrupt", task_id=task["id"])["status"] == "INTERRUPTED"
    method = "message/send" if acp_type == "sync" else "event/send"
    talk.result(method, task_id=task["id"], content=HI)
    assert get(talk, f"/tasks/{task['id']}")["status"] == "RUNNING"
    told = talk.received(acp_agent, task["id"], method)
    assert told[0]["envelope"]["params"]["task"]["status"] == "RUNNING"


def test_a_task_that_is_over_cannot_be_stopped(asynchronous: Talk) -> None:
    task = asynchronous.result("task/create", name="t")
    asynchronous.client.post(f"/tasks/{task['id']}/complete")
    assert asynchronous.error("task/interrupt", task_id=task["id"]) == (
        f"Task '{task['id']}' is COMPLETED; there is nothing to stop."
    )


# --- who understands what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acp_type", "method", "params"),
    [
        ("sync", "event/send", {"task_id": "t"}),
        ("sync", "task/cancel", {"task_id": "t"}),
        ("async", "message/send", {"content": HI}),
        ("agentic", "message/send", {"content": HI}),
    ],
)
def test_a_method_that_such_agents_do_not_know_is_an_error_of_the_answer(
    client: httpx.Client, acp_agent: RunningAgent, acp_type: str, method: str, params: Any
) -> None:
    talk = talk_to(client, acp_agent.url, acp_type)
    assert talk.error(method, **params) == f"Unsupported method: {method} for ACP type: {acp_type}"


def test_a_deleted_agent_is_told_nothing(asynchronous: Talk, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update agents set status = 'Deleted'")
    assert asynchronous.error("task/create") == f"Agent '{asynchronous.agent_id}' is deleted."


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/agents/nobody/rpc", "Item with id 'nobody' does not exist."),
        ("/agents/name/nobody/rpc", "Item with name 'nobody' does not exist."),
        ("/agents/%00/rpc", "Item with id '\N{REPLACEMENT CHARACTER}' does not exist."),
    ],
)
def test_an_unknown_agent_is_404(client: httpx.Client, path: str, message: str) -> None:
    response = client.post(path, json={"method": "task/create", "params": {}})
    assert response.status_code == 404
    assert response.json() == {"message": message, "code": 404, "data": None}


@pytest.mark.parametrize("method", ["event/send", "task/cancel", "task/interrupt"])
@pytest.mark.parametrize(("key", "label"), [("task_id", "id"), ("task_name", "name")])
def test_an_unknown_task_is_404(asynchronous: Talk, method: str, key: str, label: str) -> None:
    response = asynchronous.post(method, **{key: "nobody"})
    assert response.status_code == 404
    assert response.json()["message"] == f"Item with {label} 'nobody' does not exist."


def test_the_agent_is_found_by_its_name(asynchronous: Talk) -> None:
    body = {"method": "task/create", "params": {"name": "t"}}
    response = asynchronous.client.post("/agents/name/talker/rpc", json=body)
    assert response.json()["result"]["agent_id"] == asynchronous.agent_id


BAD_BODIES: dict[str, tuple[Any, str]] = {
    "unknown method": (
        {"method": "nope/x", "params": {}},
        "method: must be task/create, event/send, message/send, task/cancel or task/interrupt",
    ),
    "no method": ({"params": {}}, "method: must be"),
    "not an object": ([1], "method: must be"),
    "no params": ({"method": "task/create"}, "task/create.params: Field required"),
    "another protocol": (
        {"jsonrpc": "1.0", "method": "task/create", "params": {}},
        "task/create.jsonrpc: ",
    ),
    "neither id nor name": (
        {"method": "event/send", "params": {}},
        "event/send.params: give either task_id or task_name",
    ),
    "id and name": (
        {"method": "task/cancel", "params": {"task_id": "a", "task_name": "b"}},
        "task/cancel.params: give either task_id or task_name",
    ),
    "both for a message": (
        {"method": "message/send", "params": {"task_id": "a", "task_name": "b", "content": HI}},
        "message/send.params: give task_id or task_name, not both",
    ),
    "unknown content": (
        {"method": "event/send", "params": {"task_id": "t", "content": {"type": "smell"}}},
        "event/send.params.content: type must be text, data, tool_request, tool_response or",
    ),
    "content that is none": (
        {"method": "event/send", "params": {"task_id": "t", "content": "hi"}},
        "event/send.params.content",
    ),
    "NUL in a name": (
        {"method": "task/create", "params": {"name": "a\0"}},
        "task/create.params.name: holds a NUL character",
    ),
    "half a character": (
        {"method": "message/send", "params": {"content": {"content": "\ud800"}}},
        "message/send.params.content.text.content: Input should be a valid string",
    ),
    "too long": (
        {"method": "message/send", "params": {"content": {"content": "x" * 262_145}}},
        "message/send.params.content.text.content: ",
    ),
    "too deep": (
        {
            "method": "task/create",
            "params": {
                "params": {"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}
            },
        },
        "task/create.params.params: is nested more than 32 deep",
    ),
    "a tool's NUL": (
        {
            "method": "event/send",
            "params": {
                "task_id": "t",
                "content": {
                    "type": "tool_response",
                    "tool_call_id": "1",
                    "name": "n",
                    "content": ["\0"],
                },
            },
        },
        "event/send.params.content.tool_response.content: holds a NUL character",
    ),
}


@pytest.mark.parametrize(("body", "message"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_what_makes_no_sense_is_422_that_names_the_field(
    asynchronous: Talk, body: Any, message: str
) -> None:
    response = asynchronous.client.post(
        f"/agents/{asynchronous.agent_id}/rpc",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 422, response.text
    assert response.json()["message"].startswith(message)


# --- agents that misbehave ------------------------------------------------------------------------

TROUBLE = {
    "hang": "The agent did not finish within 1 s.",
    "garbage": "The agent's answer is not JSON: ",
    "not_object": "The agent's answer is not a JSON object: ",
    "brackets": "The agent's answer is not JSON: ",
    "wrong_id": "The agent's answer is to another request: ",
    "too_large": "The agent's answer is larger than 1048576 bytes.",
    "jsonrpc_error": "The agent answered with an error: -32603 no disk xxx",
    "error500": "The agent answered HTTP 500: ",
    "redirect": "The agent answered HTTP 307.",
    "reset": "The connection was lost before the agent answered: ",
    "close_midway": "The agent closed the connection in the middle of its answer.",
    "not_http": "The agent's answer is not HTTP: ",
}


@pytest.mark.parametrize(("mode", "message"), TROUBLE.items())
def test_what_is_wrong_with_an_agent_is_an_error_of_the_answer(
    client: httpx.Client, acp_agent: RunningAgent, mode: str, message: str
) -> None:
    talk = talk_to(client, acp_agent.url_for(f"input-{mode}"), "async")
    task = talk.result("task/create")
    said = talk.error("event/send", task_id=task["id"], content=HI)
    assert said.startswith(message)
    assert len(said) < 1_000
    assert said.isprintable()


@pytest.mark.parametrize(
    ("mode", "message", "kept"),
    [
        ("hang", "The agent sent nothing for 1 s.", 0),
        ("stream_error", "The agent answered with an error: -32603 the model is gone", 1),
        ("endless", "The agent's answer is larger than 1,048,576 characters.", 2),
        ("too_large", "A line of the agent's answer is larger than 1048576 bytes.", 0),
        ("garbage", "The agent's answer is not JSON: ", 0),
    ],
)
def test_what_was_said_before_it_went_wrong_is_kept(
    client: httpx.Client, acp_agent: RunningAgent, mode: str, message: str, kept: int
) -> None:
    talk = talk_to(client, acp_agent.url_for(mode), "sync")
    assert talk.error("message/send", task_name="t", content=HI).startswith(message)
    task = get(talk, "/tasks/name/t")
    assert task["status"] == "RUNNING"
    messages = get(talk, "/messages", task_id=task["id"], order_direction="asc")
    assert messages[0]["content"] == SAID
    assert len(messages) == 1 + kept


def test_an_agents_words_are_stripped_of_what_cannot_be_stored(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, acp_agent.url_for("long_answer"), "sync")
    replies = talk.result("message/send", content=HI)
    assert [reply["content"]["content"] for reply in replies] == ["ä" * 1_000] * 10


def test_agents_that_hang_do_not_hold_up_the_rest_of_the_api(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, acp_agent.url_for("hang"), "sync")
    with ThreadPoolExecutor(40) as threads:
        hanging = [
            threads.submit(talk.error, "message/send", task_name=f"t{n}", content=HI)
            for n in range(40)
        ]
        while len(acp_agent.received()) == 0 or len(get(talk, "/tasks")) < 40:
            time.sleep(0.01)
        # All forty wait for the agent by now, with ten threads to the API.
        assert get(talk, "/agents")
        assert not all(each.done() for each in hanging)
        assert {each.result() for each in hanging} == {"The agent sent nothing for 1 s."}


@pytest.fixture
def few_places(app: FastAPI) -> Iterator[None]:
    """Two per agent, three in all."""
    before, app.state.places = app.state.places, Places(per_agent=2, in_all=3)
    yield
    app.state.places = before


def test_an_agent_that_hangs_does_not_use_up_everybodys_places(
    few_places: None, client: httpx.Client, acp_agent: RunningAgent
) -> None:
    hung = talk_to(client, acp_agent.url_for("delay-0.8"), "sync", "hung")
    good = talk_to(client, acp_agent.url, "sync", "good")
    before = len(acp_agent.received("message/send"))
    with ThreadPoolExecutor(3) as threads:
        under_way = [
            threads.submit(hung.post, "message/send", content=HI, stream=stream)
            for stream in (False, True)
        ]
        acp_agent.wait_for(before + 2, method="message/send")
        refused = hung.post("message/send", content=HI)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["message"] == (
            f"Agent '{hung.agent_id}' has 2 calls under way and answers none of them yet; try "
            "again."
        )
        assert good.result("message/send", content=HI)
        assert {each.result().status_code for each in under_way} == {200}
    assert hung.result("message/send", content=HI)
    assert len(get(hung, "/tasks", agent_id=hung.agent_id)) == 3


def test_all_places_may_be_taken() -> None:
    places = Places(per_agent=2, in_all=3)
    refused = pytest.raises(Busy, match=r"^3 calls to agents are under way; try again\.$")
    with places.held("a"), places.held("a"), places.held("b"), refused:
        places.require("c")
    places.require("a")


def test_nothing_is_locked_while_an_agent_is_told(
    client: httpx.Client, acp_agent: RunningAgent, database_url: str
) -> None:
    talk = talk_to(client, acp_agent.url_for("input-hang"), "async")
    task = talk.result("task/create", name="t")
    before = len(acp_agent.received("event/send"))
    with ThreadPoolExecutor(1) as thread:
        hanging = thread.submit(talk.error, "event/send", task_id=task["id"], content=HI)
        acp_agent.wait_for(before + 1, method="event/send")
        for _ in range(3):
            client.put("/tasks/name/t", json={"merge_params": {"a": 1}}).raise_for_status()
        with psycopg.connect(database_url) as connection:
            idle = "select count(*) from pg_stat_activity where state like 'idle in transaction%'"
            assert connection.execute(idle).fetchone() == (0,)
        assert not hanging.done()
        assert hanging.result() == "The agent did not finish within 1 s."


# --- headers and keys -----------------------------------------------------------------------------


def test_the_agent_sees_the_callers_own_headers_and_none_that_say_who_he_is(
    asynchronous: Talk, acp_agent: RunningAgent
) -> None:
    headers = {
        "x-tenant": "blue",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "authorization": "Bearer secret",
        "cookie": "a=secret",
        "x-api-key": "secret",
        "x-agent-api-key": "secret",
        "x-acting-user-api-key": "secret",
        "x-selected-account-id": "secret",
        "x-idempotency-key": "secret",
        "x-request-id": "mine",
        "x-forwarded-for": "10.0.0.1",
    }
    response = asynchronous.post("task/create", headers=headers)
    (told,) = asynchronous.received(acp_agent, response.json()["result"]["id"])
    seen = told["headers"]
    assert seen["x-tenant"] == "blue"
    assert {"secret", "Bearer secret", "a=secret", "10.0.0.1", "mine"}.isdisjoint(seen.values())
    assert len(seen["x-agent-api-key"]) >= 32


def test_a_repeated_request_under_a_key_is_answered_and_nothing_is_sent_again(
    asynchronous: Talk, acp_agent: RunningAgent
) -> None:
    key = {"idempotency-key": "once"}
    task = asynchronous.post("task/create", headers={"idempotency-key": "task"}).json()["result"]
    first, again = (
        asynchronous.post("event/send", headers=key, task_id=task["id"], content=HI)
        for _ in range(2)
    )
    assert first.content == again.content
    assert len(asynchronous.received(acp_agent, task["id"], "event/send")) == 1
    other = asynchronous.post("event/send", headers=key, task_id=task["id"])
    assert other.status_code == 422
    assert "was used for another request" in other.json()["message"]


def test_a_request_that_failed_is_repeated_under_its_key_as_the_same_input(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, acp_agent.url_for("fail_once"), "async")
    first, again = (talk.post("task/create", headers={"idempotency-key": "a"}) for _ in range(2))
    assert (first.json()["result"], again.json()["error"]) == (None, None)
    task = again.json()["result"]
    assert len(get(talk, "/tasks")) == 1
    for _ in range(2):
        sent = talk.post("event/send", headers={"idempotency-key": "b"}, task_id=task["id"])
    assert sent.json()["error"] is None
    told = talk.received(acp_agent, task["id"], "event/send")
    assert len(told) == 2
    assert len({each["event_id"] for each in told}) == 1
    assert {each["idempotency_key"] for each in told} == {sent.json()["result"]["id"]}


def test_a_streamed_answer_cannot_be_kept_under_a_key(synchronous: Talk) -> None:
    response = synchronous.post(
        "message/send", headers={"idempotency-key": "a"}, content=HI, stream=True
    )
    assert response.status_code == 422
    assert response.json()["message"] == (
        "Idempotency-Key: cannot be kept with an answer that is streamed; leave out the one or the "
        "other"
    )
