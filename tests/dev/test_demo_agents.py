"""The demo agents as processes: what stock agents answer, and how they start and stop."""

import contextlib
import http.client
import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from schedules_pipeline.dev.demo_agents import REMEMBERED_INPUTS, REMEMBERED_KEYS, DemoAgent
from schedules_pipeline.domain.schedule import AcpType

MODULE = "schedules_pipeline.dev.demo_agents"


def start(acp_type: str, port: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, "--acp-type", acp_type, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def running(acp_type: str) -> Iterator[tuple[subprocess.Popen[str], http.client.HTTPConnection]]:
    """A demo agent, and one kept connection to it."""
    with start(acp_type) as process:
        assert process.stdout
        said = process.stdout.readline()
        match = re.fullmatch(rf"demo agent \({acp_type}\) on http://127\.0\.0\.1:(\d+)\n", said)
        assert match, said
        connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=5)
        try:
            yield process, connection
        finally:
            connection.close()
            process.kill()


@pytest.fixture(scope="module")
def async_agent() -> Iterator[http.client.HTTPConnection]:
    with running("async") as (_, connection):
        yield connection


@pytest.fixture(scope="module")
def sync_agent() -> Iterator[http.client.HTTPConnection]:
    with running("sync") as (_, connection):
        yield connection


def get(connection: http.client.HTTPConnection, path: str) -> Any:
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def call(
    connection: http.client.HTTPConnection, body: object, key: str | None = None
) -> tuple[str, bytes]:
    headers = {"content-type": "application/json"}
    if key:
        headers["x-idempotency-key"] = key
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", "/api", raw, headers)
    response = connection.getresponse()
    assert response.status == 200
    return response.headers["content-type"], response.read()


def envelope(method: str, rpc_id: str | None = "id-1", text: str = "hi") -> dict[str, Any]:
    content = {"type": "text", "author": "user", "content": text}
    task = {"id": "task-1", "task_metadata": {"display_name": "d", "fire_time": "t"}}
    params = {"agent": {}, "task": task, "content": content, "event": {"content": content}}
    return {"jsonrpc": "2.0", "method": method, "id": rpc_id, "params": params}


def reply(rpc_id: str | None, result: object = None, error: object = None) -> dict[str, object]:
    return {"jsonrpc": "2.0", "result": result, "error": error, "id": rpc_id}


def failure(code: int, message: str) -> dict[str, object]:
    return {"code": code, "message": message, "data": None}


@pytest.mark.parametrize("acp_type", ["async", "sync"])
def test_it_says_that_it_is_healthy(acp_type: str, request: pytest.FixtureRequest) -> None:
    assert get(request.getfixturevalue(f"{acp_type}_agent"), "/healthz") == {"status": "healthy"}


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("task/create", None),
        ("event/send", {"status": "processing"}),
        ("task/cancel", {"status": "processing"}),
        ("task/interrupt", {"status": "processing"}),
    ],
)
def test_the_asynchronous_agent_answers_as_stock_agents_do(
    async_agent: http.client.HTTPConnection, method: str, result: object
) -> None:
    kind, body = call(async_agent, envelope(method, "an-id"))
    assert kind == "application/json"
    assert json.loads(body) == reply("an-id", result)


def test_the_synchronous_agent_answers_in_lines_of_json(
    sync_agent: http.client.HTTPConnection,
) -> None:
    kind, body = call(sync_agent, envelope("message/send", "an-id", "good\nmorning"))
    assert kind == "application/x-ndjson"
    (line,) = body.splitlines()
    content = {"type": "text", "author": "agent", "content": "You said: good\nmorning"}
    update = {"type": "full", "index": 0, "content": content, "parent_task_message": None}
    assert json.loads(line) == reply("an-id", update)


@pytest.mark.parametrize(
    ("acp_type", "body", "expected"),
    [
        ("async", b"{", reply(None, error=failure(-32603, "The request is not JSON"))),
        ("async", [1], reply(None, error=failure(-32603, "The request is not a JSON object"))),
        ("async", envelope("x/y"), reply("id-1", error=failure(-32601, "Method x/y not found"))),
        (
            "async",
            envelope("message/send"),
            reply("id-1", error=failure(-32601, "Method message/send not found")),
        ),
        (
            "sync",
            envelope("task/create"),
            reply("id-1", error=failure(-32601, "Method task/create not found")),
        ),
        (
            "async",
            envelope("event/send") | {"params": {}},
            reply("id-1", error=failure(-32603, "params.task: Field required")),
        ),
        (
            "async",
            envelope("event/send") | {"params": {"task": {}}},
            reply("id-1", error=failure(-32603, "content: Field required")),
        ),
        ("async", envelope("event/send", None), reply(None)),
        ("sync", envelope("message/send", None), None),
        (
            "async",
            envelope("event/send") | {"method": ["event/send"]},
            reply("id-1", error=failure(-32601, "Method ['event/send'] not found")),
        ),
    ],
)
def test_what_it_cannot_serve_is_an_error_with_http_status_200(
    acp_type: str, body: object, expected: object, request: pytest.FixtureRequest
) -> None:
    _, answer = call(request.getfixturevalue(f"{acp_type}_agent"), body)
    assert json.loads(answer) == expected


def test_an_input_that_comes_twice_is_answered_twice_and_taken_once() -> None:
    with running("sync") as (_, connection):
        answers = {call(connection, envelope("message/send"), key="k") for _ in range(2)}
        assert len(answers) == 1
        assert get(connection, "/") == {
            "acp_type": "sync",
            "inputs": [
                {
                    "task_id": "task-1",
                    "display_name": "d",
                    "fire_time": "t",
                    "content": "hi",
                    "idempotency_key": "k",
                }
            ],
        }


def test_its_memory_is_bounded() -> None:
    agent = DemoAgent(AcpType.ASYNC)
    for number in range(REMEMBERED_KEYS + 500):
        agent.handle(envelope("event/send", text="x" * 5_000), f"key-{number}")
    assert len(agent.inputs) == REMEMBERED_INPUTS
    assert len(agent._taken) == REMEMBERED_KEYS
    assert len(agent.inputs[-1]["content"]) == 1_000


def test_answers_are_not_held_back_by_nagles_algorithm(
    async_agent: http.client.HTTPConnection,
) -> None:
    took = []
    for _ in range(30):
        begun = time.perf_counter()
        call(async_agent, envelope("event/send"))
        took.append(time.perf_counter() - begun)
    assert statistics.median(took) < 0.030  # 0.044 with it


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_even_with_a_connection_open(number: signal.Signals) -> None:
    with running("async") as (process, connection):
        get(connection, "/healthz")
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == 0
        assert time.monotonic() - begun < 2
        assert process.stderr
        assert process.stderr.read() == ""


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with start("async", port) as process:
            _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said == (
        f"The demo agent cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Give it another --port.\n"
    )
