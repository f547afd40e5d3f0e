"""Connections to agents: how many, for how long, and whether a request has got one yet."""

import asyncio
import resource
import select
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from weakref import WeakSet

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

CONNECTIONS = 4_096
"""In all, to all agents: hung requests pile up here for up to `Timeouts.request` seconds."""
SPARED_FILES = 200
"""Of the process's open files, those that are left for Postgres, Dagster and logs."""
KEEPALIVE_SECONDS = 1.5
"""How long an idle connection is kept: less than agents' servers keep it (gunicorn 2 s, uvicorn
5 s), so that it is we who close it, and not the agent just as we write an input."""
OPENED_AT_ONCE = 16
AHEAD_TIMEOUT = aiohttp.ClientTimeout(connect=1.0, sock_connect=1.0)
"""For connections that are opened before they are needed: by then it must be over."""


@dataclass(slots=True)
class Attempt:
    """What is known of the request under way."""

    carries_input: bool
    read_seconds: float
    deadline_seconds: float
    transport: asyncio.Transport | None = None
    """The connection that it got."""

    @property
    def connected(self) -> bool:
        """Whether anything can have been written."""
        return self.transport is not None

    @property
    def input_written(self) -> bool:
        """Whether bytes of an input can have been written."""
        return self.carries_input and self.connected

    def drop_unsent(self) -> None:
        """Forget what an agent does not read.

        A connection that is closed with unsent bytes would stay open until the agent reads them.
        """
        if self.transport is not None and self.transport.is_closing():
            self.transport.abort()


ATTEMPT: ContextVar[Attempt] = ContextVar("acp_attempt")
"""The request under way in this asyncio task. Whoever makes one sets it first."""


class AgentConnector(aiohttp.TCPConnector):
    """Notes when a request gets its connection: before that, not one byte can have been written.

    Exceptions alone do not tell: a deadline strikes in either phase.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(limit=_connection_limit(), keepalive_timeout=KEEPALIVE_SECONDS, ssl=tls)
        self._used: WeakSet[object] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        while self._is_stale(connection):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        self._used.add(connection.protocol)
        ATTEMPT.get().transport = connection.transport
        return connection

    async def open_ahead(self, url: URL, number: int) -> None:
        """Lay new connections in the pool; opened a few at a time, up to the first that fails."""
        opened: list[Connection] = []
        try:
            for begun in range(0, number, OPENED_AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(OPENED_AT_ONCE, number - begun)):
                        group.create_task(self._open_one(url, opened))
        finally:
            for connection in opened:
                connection.release()

    async def _open_one(self, url: URL, opened: list[Connection]) -> None:
        # Nothing of this request is ever written: aiohttp takes the address from it.
        address = aiohttp.ClientRequest("POST", url)
        connection = await super().connect(address, [], AHEAD_TIMEOUT)
        while connection.protocol in self._used:
            # A kept one: laid back, it would seem to be used just now, and be kept for too long.
            connection.close()
            connection = await super().connect(address, [], AHEAD_TIMEOUT)
        self._used.add(connection.protocol)
        opened.append(connection)

    def _is_stale(self, connection: Connection) -> bool:
        """Whether a kept connection was closed by the agent and our event loop was too busy to see.

        Nobody speaks on an idle HTTP connection: what can be read there is its end. This leaves the
        moment between here and the write; a connection lost in it counts as written to.
        """
        if connection.protocol not in self._used or connection.transport is None:
            return False
        poll = select.poll()
        poll.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))


def _connection_limit() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS
    # Never 0, which aiohttp takes for "no limit".
    return max(1, min(CONNECTIONS, files - SPARED_FILES))


def open_session(connector: AgentConnector) -> aiohttp.ClientSession:
    """Connections for the running event loop: no cookies, no proxies from the environment."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )
