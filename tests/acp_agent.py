"""The process behind `tests.agents`: an ACP agent, well or ill-behaved, that logs what it receives.

Raw asyncio instead of a web framework, so that benches measure us and not the agent.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]

_INPUTS = ("event/send", "message/send")
_STOPS = frozenset({"task/cancel", "task/interrupt"})
_SERVED = {
    "sync": _STOPS | {"message/send"},
    "async": _STOPS | {"task/create", "event/send"},
    "agentic": _STOPS | {"task/create", "event/send"},
    "any": _STOPS | {"task/create", "event/send", "message/send"},
}
_KEPT_HEADERS = ("accept", "authorization", "content-type", "cookie", "host", "user-agent")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read to its end."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes

    def rpc(self) -> JsonObject:
        """The JSON-RPC envelope."""
        envelope = json.loads(self.body or b"{}")
        return envelope if isinstance(envelope, dict) else {}


class Agent:
    """What all connections share: the options, and the log."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.mode: str = options.mode
        self.served = _SERVED[options.acp_type]
        self.idle_close: float | None = options.idle_close
        self.whole: bool = options.envelopes
        self.seen: set[tuple[str, str | None]] = set()
        self._handled = _handled_before(options.log) if options.dedupe else None
        self._log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def record(self, request: Request, envelope: JsonObject, mode: str) -> None:
        """Write the request down: one line, by one write, before it is answered."""
        params = envelope.get("params") or {}
        task, event = params.get("task") or {}, params.get("event") or {}
        content = event.get("content") or params.get("content") or {}
        key = request.headers.get("x-idempotency-key")
        line = {
            "at": time.time(),
            "method": envelope.get("method"),
            "handled": self._is_new(envelope.get("method"), key),
            "mode": mode,
            "agent_id": (params.get("agent") or {}).get("id"),
            "task_id": task.get("id"),
            "task_name": task.get("name"),
            "task_metadata": task.get("task_metadata"),
            "task_params": task.get("params"),
            "content": content.get("content"),
            "event_id": event.get("id"),
            "idempotency_key": key,
            "headers": {
                name: value
                for name, value in request.headers.items()
                if name.startswith("x-") or name in _KEPT_HEADERS
            },
        }
        if self.whole:
            line |= {"path": request.path, "envelope": envelope}
        os.write(self._log, json.dumps(line).encode() + b"\n")

    def _is_new(self, method: object, key: str | None) -> bool:
        """False for an input that an agent which dedupes by key does not take a second time."""
        if self._handled is None or method not in _INPUTS or key is None:
            return True
        if key in self._handled:
            return False
        self._handled.add(key)
        return True


def _handled_before(log: Path) -> set[str]:
    """The keys of the inputs in the log: what this agent handled before it was killed."""
    with contextlib.suppress(FileNotFoundError):
        lines = (json.loads(line) for line in log.read_text().splitlines())
        return {line["idempotency_key"] for line in lines if line["method"] in _INPUTS}
    return set()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: reads requests with a Content-Length, answers them in turn."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.answered = 0
        self._received = bytearray()
        self._idle: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self._idle.cancel()
        self._received += data
        while request := self._next_request():
            answer(self, request)
        if self.agent.idle_close is not None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self.agent.idle_close, self.transport.close)

    def _next_request(self) -> Request | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", 0))
        start = end + 4
        if len(self._received) < start + length:
            return None
        body = bytes(self._received[start : start + length])
        del self._received[: start + length]
        verb, path, _ = first.split(" ", 2)
        return Request(verb, path, headers, body)

    def send(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        """Answer with a whole body."""
        self.answered += 1
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def send_json(self, reply: object) -> None:
        """Answer with JSON."""
        self.send(json.dumps(reply).encode())

    def begin_stream(self) -> None:
        """Begin an NDJSON answer whose length is not known."""
        self.answered += 1
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    def send_chunk(self, data: bytes) -> None:
        """Go on with it; an empty chunk ends it."""
        self.transport.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for as long as this connection lives."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def answer(connection: Connection, request: Request) -> None:
    """Record a request and answer it as its path, else the process's options, say."""
    if request.path == "/healthz":
        return connection.send_json({"status": "healthy"})
    envelope = request.rpc()
    mode = request.path.removesuffix("/api").strip("/") or connection.agent.mode
    connection.agent.record(request, envelope, mode)
    for_input = mode.removeprefix("input-")
    if for_input != mode:
        # `input-hang`: only the input meets with trouble, the task is made.
        mode = for_input if envelope.get("method") in _INPUTS else "ok"
    if mode.startswith("delay-"):
        seconds = float(mode.removeprefix("delay-"))
        return connection.later(_delayed(connection, envelope, request, seconds))
    return MODES.get(mode, _unknown_mode)(connection, envelope, request)


async def _delayed(c: Connection, envelope: JsonObject, request: Request, seconds: float) -> None:
    await asyncio.sleep(seconds)
    _ok(c, envelope, request)


# --- how it can behave: each takes (connection, envelope, request) ------------------------------


def _result(envelope: JsonObject, result: object) -> JsonObject:
    return {"jsonrpc": "2.0", "result": result, "error": None, "id": envelope.get("id")}


def _error(envelope: JsonObject, code: int, message: str) -> JsonObject:
    error = {"code": code, "message": message, "data": None}
    return {"jsonrpc": "2.0", "result": None, "error": error, "id": envelope.get("id")}


def _full(envelope: JsonObject, text: str) -> bytes:
    content = {"type": "text", "author": "agent", "content": text}
    update = {"type": "full", "index": 0, "content": content, "parent_task_message": None}
    return json.dumps(_result(envelope, update)).encode() + b"\n"


def _ok(c: Connection, envelope: JsonObject, request: Request) -> None:
    method = str(envelope.get("method"))
    if method not in c.agent.served:
        return c.send_json(_error(envelope, -32601, f"Method {method} not found"))
    if method != "message/send":
        processing = {"status": "processing"} if method == "event/send" else None
        return c.send_json(_result(envelope, processing))
    c.begin_stream()
    c.send_chunk(_full(envelope, f"You said: {envelope['params']['content']['content']}"))
    return c.send_chunk(b"")


def _stream(c: Connection, envelope: JsonObject, request: Request) -> None:
    c.begin_stream()
    for piece in ("Hel", "lo ", "world"):
        delta = {"type": "text", "text_delta": piece}
        update = {"type": "delta", "index": 0, "delta": delta}
        c.send_chunk(json.dumps(_result(envelope, update)).encode() + b"\n")
    c.send_chunk(json.dumps(_result(envelope, {"type": "done", "index": 0})).encode())
    c.send_chunk(b"")


def _empty_stream(c: Connection, *_: object) -> None:
    c.begin_stream()
    c.send_chunk(b"")


def _long_answer(c: Connection, envelope: JsonObject, request: Request) -> None:
    c.begin_stream()
    for _ in range(10):
        c.send_chunk(_full(envelope, "\0\ud800" + "ä" * 1_000))
    c.send_chunk(b"")


def _stream_error(c: Connection, envelope: JsonObject, request: Request) -> None:
    c.begin_stream()
    c.send_chunk(_full(envelope, "so far, so good"))
    c.send_chunk(json.dumps(_error(envelope, -32603, "the model is gone")).encode() + b"\n")
    c.send_chunk(b"")


def _endless(c: Connection, envelope: JsonObject, request: Request) -> None:
    async def pour() -> None:
        c.begin_stream()
        line = _full(envelope, "x" * 500_000)
        while True:
            c.send_chunk(line)
            await asyncio.sleep(0.001)

    c.later(pour())


def _slow_drip(c: Connection, envelope: JsonObject, request: Request) -> None:
    async def drip() -> None:
        c.begin_stream()
        while True:
            c.send_chunk(b" ")
            await asyncio.sleep(0.05)

    c.later(drip())


def _drip(c: Connection, envelope: JsonObject, request: Request) -> None:
    async def drip() -> None:
        delta = {"type": "delta", "index": 0, "delta": {"type": "text", "text_delta": "drip"}}
        c.begin_stream()
        try:
            while True:
                c.send_chunk(json.dumps(_result(envelope, delta)).encode() + b"\n")
                await asyncio.sleep(0.02)
        finally:
            c.agent.record(request, envelope | {"method": "connection lost"}, "drip")

    c.later(drip())


def _fail_once(c: Connection, envelope: JsonObject, request: Request) -> None:
    key = (str(envelope.get("method")), request.headers.get("x-idempotency-key"))
    if key in c.agent.seen:
        return _ok(c, envelope, request)
    c.agent.seen.add(key)
    return c.send(b"try again", "500 Internal Server Error")


def _reset(c: Connection, *_: object) -> None:
    # Linger 0: the kernel answers with RST instead of FIN.
    sock = c.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.transport.abort()


def _close_midway(c: Connection, envelope: JsonObject, request: Request) -> None:
    c.transport.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"jsonrpc":')
    c.transport.close()


def _ok_then_close(c: Connection, envelope: JsonObject, request: Request) -> None:
    _ok(c, envelope, request)
    c.transport.close()


def _close_when_reused(c: Connection, envelope: JsonObject, request: Request) -> None:
    if c.answered:
        return _reset(c)
    return _ok(c, envelope, request)


def _not_http(c: Connection, *_: object) -> None:
    c.transport.write(b"220 mail.example ESMTP ready\r\n")


def _unknown_mode(c: Connection, *_: object) -> None:
    c.send(b"no such mode", "404 Not Found")


MODES: dict[str, Callable[[Connection, JsonObject, Request], None]] = {
    "ok": _ok,
    "stream": _stream,
    "long_answer": _long_answer,
    "empty_stream": _empty_stream,
    "fail_once": _fail_once,
    "error500": lambda c, _e, _r: c.send(b"Traceback:\n\x1b[31mboom", "500 Internal Server Error"),
    "error502": lambda c, _e, _r: c.send(b"", "502 Bad Gateway"),
    "redirect": lambda c, _e, _r: c.send(b"", "307 Temporary Redirect", "location: /ok/api\r\n"),
    "cookie": lambda c, e, _r: c.send(
        json.dumps(_result(e, None)).encode(), headers="set-cookie: a=b; path=/\r\n"
    ),
    "garbage": lambda c, _e, _r: c.send(b"<html>\x00\x1b[2J welcome </html>"),
    "not_object": lambda c, _e, _r: c.send(b"[1, 2]"),
    "brackets": lambda c, _e, _r: c.send(b"[" * 500_000),
    "wrong_id": lambda c, e, _r: c.send_json(_result(e | {"id": "another"}, None)),
    "too_large": lambda c, e, _r: c.send_json(_result(e, "x" * 2_000_000)),
    "jsonrpc_error": lambda c, e, _r: c.send_json(
        _error(e, -32603, "no\x00 disk\r\n\u202e" + "x" * 5_000)
    ),
    "error_without_id": lambda c, _e, _r: c.send_json(_error({}, -32700, "cannot parse")),
    "stream_error": _stream_error,
    "endless": _endless,
    "hang": lambda _c, _e, _r: None,
    "slow_drip": _slow_drip,
    "drip": _drip,
    "close": lambda c, _e, _r: c.transport.close(),
    "reset": _reset,
    "close_midway": _close_midway,
    "ok_then_close": _ok_then_close,
    "close_when_reused": _close_when_reused,
    "not_http": _not_http,
}
"""By name. Also `delay-SECONDS` (ok, later) and `input-MODE` (task/create ok, then MODE)."""


async def _serve(options: argparse.Namespace) -> None:
    agent, loop, stopped = Agent(options), asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(
        lambda: Connection(agent), "127.0.0.1", options.port, backlog=1_024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    parent = os.getppid()
    while not (options.end_with_parent and os.getppid() != parent):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), 1.0)
            return
    print("The agent ends: its parent is gone.", file=sys.stderr)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="A recording ACP agent.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, required=True, help="one JSON line per request")
    parser.add_argument("--mode", default="ok", help="for URLs without one")
    parser.add_argument("--acp-type", default="any", choices=sorted(_SERVED))
    parser.add_argument("--idle-close", type=float, help="close connections idle for so many s")
    parser.add_argument("--dedupe", action="store_true", help="handle each key once, see the log")
    parser.add_argument("--envelopes", action="store_true", help="log whole envelopes too")
    parser.add_argument("--end-with-parent", action="store_true")
    asyncio.run(_serve(parser.parse_args()))
