"""What the peers' processes share: the order they are given, and the work, which is our own.

Runs in a peer's environment, with nothing of the project but this folder:

    python -m bench.peers.on_NAME PART ORDER.json

PART is `prepare` (make tables and schedules, then end) or one of the peer's processes.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import aiohttp

IN_FLIGHT = 64
"""Calls at once, as many as the project's own worker makes by default."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a peer is to do. Instants in seconds since the epoch, whole ones.

    `once`: `number` fires at `first`. `every`: `number` schedules, each every `every` seconds from
    `first` on; `spread`: not all in the same second. `trigger`: what is asked for, when it is.
    """

    kind: str
    number: int
    first: int
    every: int
    spread: bool
    store_url: str
    folder: str

    def schedules(self) -> list[tuple[str, int]]:
        """Each schedule's name, and its first instant."""
        return [
            (f"{self.kind}-{each}", self.first + (each % self.every if self.spread else 0))
            for each in range(self.number)
        ]

    def triggers(self) -> Iterator[str]:
        """The names of what is asked for now, as they come."""
        with (Path(self.folder) / "triggers").open() as lines:
            yield from (line.strip() for line in lines)

    def on_trigger(self, start: Callable[[str], object]) -> None:
        """Call this for each, in a thread of its own."""

        def follow() -> None:
            for name in self.triggers():
                start(name)

        threading.Thread(target=follow, daemon=True).start()

    def ready(self) -> None:
        """Say that this part is up."""
        (Path(self.folder) / f"{sys.argv[1]}.ready").touch()


def run(parts: Mapping[str, Callable[[Order], object]]) -> None:
    """Do the part that the command line names."""
    parts[sys.argv[1]](the_order())


def the_order() -> Order:
    """From the file that the command line names."""
    return Order(**json.loads(Path(sys.argv[2]).read_text()))


def newest(first: int, every: int) -> int:
    """The instant that was due last, for a schedule that does not tell its work which one it is."""
    now = int(time.time())
    return now - (now - first) % every


def _calls(schedule: str, nominal: float) -> tuple[Json, list[bytes]]:
    """The headers and bodies of the two calls, as large as the project's."""
    fire, when = f"{schedule}@{nominal:.0f}", datetime.fromtimestamp(nominal, UTC).isoformat()
    task_id = str(uuid5(NAMESPACE_URL, fire))
    metadata = {"schedule_id": schedule, "fire_time": when, "idempotency_key": fire}
    agent = {"id": "agent", "name": "agent", "acp_type": "async", "created_at": when}
    task = {"id": task_id, "name": fire, "status": "RUNNING", "task_metadata": metadata}
    content = {"type": "text", "author": "user", "style": "static", "content": "hello"}
    event = {"id": task_id, "task_id": task_id, "agent_id": "agent", "content": content}
    bodies = [
        {"method": "task/create", "params": {"agent": agent, "task": task, "params": None}},
        {"method": "event/send", "params": {"agent": agent, "task": task, "event": event}},
    ]
    headers = {"x-idempotency-key": fire, "content-type": "application/json"}
    return headers, [json.dumps({"jsonrpc": "2.0", "id": fire} | body).encode() for body in bodies]


_session: aiohttp.ClientSession | None = None


async def deliver(schedule: str, nominal: float) -> None:
    """The two calls of one fire, over kept-alive connections of the running event loop."""
    for number in (0, 1):
        await call(number, schedule, nominal)


async def call(number: int, schedule: str, nominal: float) -> None:
    """The first call (0) or the second (1)."""
    global _session  # one event loop a process, and it lives as long
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT))
    headers, bodies = _calls(schedule, nominal)
    async with _session.post(_url(), data=bodies[number], headers=headers) as answer:
        answer.raise_for_status()
        await answer.read()


async def deliver_newest(schedule: str, first: int, every: int) -> None:
    """The same, for the instant that was due last."""
    await deliver(schedule, newest(first, every))


_connections = threading.local()


def deliver_blocking(schedule: str, nominal: float) -> None:
    """The same without an event loop, over a kept-alive connection of this thread."""
    headers, bodies = _calls(schedule, nominal)
    connection = _connection()
    for body in bodies:
        connection.request("POST", urlsplit(_url()).path, body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"The agent answered {answer.status}.")


def _connection() -> HTTPConnection:
    if not hasattr(_connections, "opened"):
        opened = HTTPConnection(urlsplit(_url()).netloc)
        opened.connect()
        opened.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _connections.opened = opened
    found: HTTPConnection = _connections.opened
    return found


def _url() -> str:
    """Where agents listen, as the host has put it into the environment of each part."""
    return f"{os.environ['BENCH_AGENT_URL']}/api"


async def forever() -> None:
    """Until somebody ends the process."""
    await asyncio.Event().wait()
