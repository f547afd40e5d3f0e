"""Answers that are passed on as they come: line by line, bounded, and only while somebody reads."""

import asyncio
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from schedules_pipeline.api.ndjson import Ndjson, Write
from tests.agents import RunningAgent
from tests.api.talking import HI, Talk, talk_to


def stream(talk: Talk, **params: Any) -> list[dict[str, Any]]:
    response = talk.post("message/send", content=HI, stream=True, **params)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert all(set(line) == {"jsonrpc", "result", "error", "id"} for line in lines)
    assert {(line["jsonrpc"], line["id"]) for line in lines} <= {("2.0", None)}
    return lines


def messages(talk: Talk, task: str) -> list[dict[str, Any]]:
    task_id = talk.client.get(f"/tasks/name/{task}").json()["id"]
    query = {"task_id": task_id, "order_direction": "asc"}
    found: list[dict[str, Any]] = talk.client.get("/messages", params=query).json()
    return found


def test_updates_are_passed_on_with_the_message_that_they_belong_to(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, acp_agent.url_for("stream"), "sync")
    updates = [line["result"] for line in stream(talk, task_name="t")]
    # The agent sent no start: it is put before the first piece.
    assert [update["type"] for update in updates] == ["start", "delta", "delta", "delta", "done"]
    assert [update["delta"]["text_delta"] for update in updates[1:4]] == ["Hel", "lo ", "world"]
    _, kept = messages(talk, "t")
    assert kept["content"]["content"] == "Hello world"
    assert {update["parent_task_message"]["id"] for update in updates} == {kept["id"]}
    assert updates[-1]["parent_task_message"]["content"] == kept["content"]
    assert updates[-1]["parent_task_message"]["streaming_status"] == "DONE"


def test_a_whole_message_is_one_line(client: httpx.Client, acp_agent: RunningAgent) -> None:
    talk = talk_to(client, acp_agent.url, "sync")
    (line,) = stream(talk, task_name="t")
    _, kept = messages(talk, "t")
    assert line["result"]["content"]["content"] == "You said: hi"
    assert line["result"]["parent_task_message"]["id"] == kept["id"]


@pytest.mark.parametrize(
    ("mode", "message", "before"),
    [
        ("hang", "The agent sent nothing for 1 s.", 0),
        ("error500", "The agent answered HTTP 500: ", 0),
        ("stream_error", "The agent answered with an error: -32603 the model is gone", 1),
        ("endless", "The agent's answer is larger than 1,048,576 characters.", 2),
    ],
)
def test_what_goes_wrong_is_the_last_line(
    client: httpx.Client, acp_agent: RunningAgent, mode: str, message: str, before: int
) -> None:
    talk = talk_to(client, acp_agent.url_for(mode), "sync")
    *good, last = stream(talk, task_name="t")
    assert last["result"] is None
    assert last["error"]["code"] == -32603
    assert last["error"]["message"].startswith(message)
    assert len(good) == before
    assert len(messages(talk, "t")) == 1 + before


def test_an_agent_that_cannot_be_reached_is_the_only_line(client: httpx.Client) -> None:
    talk = talk_to(client, "http://127.0.0.1:9", "sync")
    (line,) = stream(talk, task_name="t")
    assert line["error"]["message"].startswith("The agent cannot be reached at http://127.0.0.1:9")


def test_before_the_agent_is_told_a_mistake_has_its_http_status(
    client: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(client, acp_agent.url, "sync")
    assert talk.post("message/send", content=HI, stream=True, task_id="x").status_code == 404
    assert talk.post("message/send", content="hi", stream=True).status_code == 422


def test_when_nobody_reads_any_more_the_agent_is_let_go_and_what_was_said_is_kept(
    client: httpx.Client, acp_agent: RunningAgent, base_url: str
) -> None:
    talk = talk_to(client, acp_agent.url_for("drip"), "sync")
    body = json.dumps(
        {
            "method": "message/send",
            "params": {"content": HI, "stream": True, "task_name": "t"},
        }
    )
    where = urlsplit(base_url)
    with socket.create_connection((where.hostname or "", where.port or 0)) as reader:
        reader.sendall(
            f"POST /agents/{talk.agent_id}/rpc HTTP/1.1\r\nhost: {where.netloc}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        )
        came = b""
        while came.count(b'"delta"') < 4:
            came += reader.recv(65_536)
    # The agent would go on for ever; it notices that its connection is gone, and says so.
    gone = time.monotonic() + 10
    while not (lost := acp_agent.received("connection lost")) or len(messages(talk, "t")) < 2:
        assert time.monotonic() < gone
        time.sleep(0.02)
    assert lost
    assert messages(talk, "t")[1]["content"]["content"].startswith("dripdrip")


def test_who_reads_slowly_holds_the_agent_up_instead_of_filling_our_memory() -> None:
    written, sent = 0, asyncio.Event()

    async def produce(write: Write) -> None:
        nonlocal written
        for _ in range(1_000):
            await write({"x": "y"})
            written += 1

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.set()
            await asyncio.sleep(3_600)

    async def receive() -> Any:
        await sent.wait()
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    asyncio.run(Ndjson(produce)({"type": "http"}, receive, send))
    assert written == 0
