"""Request ids, and what is written of a request: never what could be a secret."""

import json
import logging
import socket
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from schedules_pipeline.api.body_limit import BodyLimit, Message, Receive, Scope, Send
from schedules_pipeline.api.request_log import JsonLines
from tests.api.factories import Api, agent_body, schedule_body

HEX = set("0123456789abcdef")


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    made = [record for record in caplog.records if record.name == "schedules.api"]
    return [json.loads(JsonLines().format(record)) for record in made]


def test_an_id_that_the_caller_gives_comes_back_and_another_is_made(client: httpx.Client) -> None:
    given = client.get("/healthz", headers={"x-request-id": "trace-1:a/b"})
    assert given.headers["x-request-id"] == "trace-1:a/b"
    for odd in ({}, {"x-request-id": "with blank"}, {"x-request-id": "x" * 129}):
        made = client.get("/agents/absent", headers=odd).headers["x-request-id"]
        assert len(made) == 32
        assert set(made) <= HEX


def test_a_line_says_what_was_asked_and_nothing_that_could_be_a_secret(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "schedules.api")
    caplog.clear()
    api.client.post(
        f"{api.url}?token=s3cret",
        json=schedule_body(description="s3cret"),
        headers={"authorization": "Bearer s3cret", "idempotency-key": "s3cret"},
    )
    api.client.get("/healthz")
    (line,) = _lines(caplog)
    assert (line["method"], line["path"], line["status"]) == ("POST", api.url, 200)
    assert line["duration_seconds"] > 0
    assert "s3cret" not in json.dumps(line)


def test_a_traceback_becomes_one_line_of_json() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        caught = (type(error), error, error.__traceback__)
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "f", 1, "Odd", None, caught)
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["logger"], line["message"]) == ("error", "uvicorn.error", "Odd")
    assert "ValueError: two\nlines" in line["error"]


def test_a_body_that_does_not_end_in_time_is_answered_with_408() -> None:
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("must not be asked")

    async def trickle() -> Message:
        await anyio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        await BodyLimit(app, seconds=0.1)({"type": "http", "headers": []}, trickle, send)

    anyio.run(ask)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["message"] == (
        "The request's body did not arrive within 0.1 seconds."
    )


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_body_nested_without_end_is_refused(refusing_api: Api, opening: str) -> None:
    body = opening * 150_000
    response = refusing_api.client.post(
        refusing_api.url, content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["message"].startswith("body: ")


def test_a_request_that_breaks_off_in_its_body_does_nothing(api: Api, base_url: str) -> None:
    where = urlsplit(base_url)
    body = json.dumps(schedule_body())
    for part in (0, 1, len(body) - 1):
        request = (
            f"POST {api.url} HTTP/1.1\r\nhost: {where.netloc}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body[:part]}"
        )
        with socket.create_connection((where.hostname or "", where.port or 0)) as connection:
            connection.sendall(request.encode())
    assert api.client.get(api.url).json()["total"] == 0
    assert api.client.post("/agents/register", json=agent_body()).status_code == 200
