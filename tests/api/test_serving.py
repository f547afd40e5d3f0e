"""The server in front of the application: its patience, and how it ends."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import uvicorn

from fuzz.serving import served
from schedules_pipeline.api import serving
from schedules_pipeline.api.body_limit import Receive, Scope, Send
from schedules_pipeline.api.serving import BoundedHead
from tests.api.factories import agent_body, schedule_body

HURRIED = "from schedules_pipeline.api import serving; serving.GRACEFUL_SECONDS = 0.3"


def _schedule(url: str) -> str:
    """Where a new schedule is."""
    agent = httpx.post(f"{url}/agents/register", json=agent_body()).json()
    place = f"{url}/agents/{agent['id']}/schedules"
    return f"{place}/{httpx.post(place, json=schedule_body()).json()['id']}"


def _lines(log: Path) -> list[dict[str, object]]:
    """Each line is an object: no traceback, no warning of the interpreter's."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_signal_lets_the_request_in_flight_end_and_the_exit_code_is_0(
    database_url: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path) as server, ThreadPoolExecutor(1) as threads:
        place = _schedule(server.url)
        with psycopg.connect(database_url) as other:
            other.execute("select from schedule_clock for update")
            waiting = threads.submit(httpx.patch, place, json={"description": "kept"}, timeout=20)
            _until_someone_waits(database_url)
            server.process.send_signal(signal.SIGTERM)
            _until_it_takes_nobody(server.url)
            assert not waiting.done()
        answer = waiting.result()
        assert (answer.status_code, answer.json()["description"]) == (200, "kept")
        assert answer.headers["connection"] == "close"
        assert server.process.wait(10) == 0
    assert {line["level"] for line in _lines(server.log)} == {"info"}


def test_a_request_that_does_not_end_is_cut_off_and_the_exit_code_says_so(
    database_url: str, tmp_path: Path
) -> None:
    with (
        served(database_url, tmp_path, prelude=HURRIED) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        place = _schedule(server.url)
        with psycopg.connect(database_url) as other:
            other.execute("select from schedule_clock for update")
            waiting = threads.submit(httpx.patch, place, json={"description": "lost"}, timeout=20)
            _until_someone_waits(database_url)
            assert server.stop() == 1
            with pytest.raises(httpx.TransportError):
                waiting.result()
    with psycopg.connect(database_url) as other:
        assert other.execute("select description from agent_run_schedules").fetchall() == [(None,)]
    warned = [line["message"] for line in _lines(server.log) if line["level"] == "warning"]
    assert warned == ["1 requests were cut off; their transactions roll back"]


def test_connections_that_idle_do_not_hold_the_server_back(
    database_url: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/healthz").status_code == 200
        with _connected(server.url) as silent, _connected(server.url) as begun:
            begun.sendall(b"GET /healthz HTT")
            assert server.stop() == 0
            assert (silent.recv(100), begun.recv(100)) == (b"", b"")


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of no patience in front of an application that always says the same."""
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=BoundedHead, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()


def test_who_says_nothing_is_hung_up_on(bounded: str) -> None:
    with _connected(bounded) as silent:
        assert silent.recv(100) == b""


def test_headers_that_trickle_in_are_answered_with_408(bounded: str) -> None:
    with _connected(bounded) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        for _ in range(3):
            time.sleep(0.05)
            slow.sendall(b"x-more: y\r\n")
        assert slow.recv(1_000).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_headers_without_end_are_answered_with_431(bounded: str) -> None:
    with _connected(bounded) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ")
        answer = b""
        try:
            for _ in range(64):
                endless.sendall(b"y" * 65_536)
        except ConnectionError:  # it has hung up by then
            return
        answer = endless.recv(1_000)
        assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_connection_is_used_again_and_each_request_has_its_time(bounded: str) -> None:
    with _connected(bounded) as used:
        for _ in range(3):
            used.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert used.recv(1_000).startswith(b"HTTP/1.1 200 OK\r\n")
            time.sleep(0.2)
        used.sendall(b"GET / HTTP/1.1\r\n")
        assert used.recv(1_000).startswith(b"HTTP/1.1 408 ")


def _connected(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname or "", where.port or 0), timeout=10)


def _until_someone_waits(database_url: str) -> None:
    asked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    with psycopg.connect(database_url, autocommit=True) as connection:
        while connection.execute(asked).fetchone() == (0,):
            time.sleep(0.01)


def _until_it_takes_nobody(url: str) -> None:
    while True:
        try:
            _connected(url).close()
        except ConnectionError:
            return
        time.sleep(0.01)
