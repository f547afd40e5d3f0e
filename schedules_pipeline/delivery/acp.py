"""The ACP client: one JSON-RPC request to an agent's server, with every limit it needs.

aiohttp alone, without httpx above it: a burst is bound by this process's processor, and httpx's
requests and responses took a fifth of it (docs/decisions/0011-the-burst.md).
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from random import getrandbits

import aiohttp
from yarl import URL

from schedules_pipeline.delivery import envelopes
from schedules_pipeline.delivery.connections import ATTEMPT, AgentConnector, Attempt, open_session
from schedules_pipeline.delivery.envelopes import Told
from schedules_pipeline.delivery.replies import Excerpt, quotable, quote_body, result_of
from schedules_pipeline.domain.clean import clean
from schedules_pipeline.domain.schedule import Agent, JsonObject
from schedules_pipeline.errors import AgentError, BadReply, DeliveryError, TimedOut, Unreachable
from schedules_pipeline.services.platform_port import Assignment, Errand, Stop, Take

REPLY_BYTES = 1 << 20
"""The largest JSON reply, and the largest line of a streamed one."""
STREAM_BYTES = 64 << 20
"""The largest streamed reply in all: some 300,000 updates of one token each."""
_BODY_CHUNK = 256 << 10
_NO_ADDRESS = "The agent's acp_url is not an http(s) address: {}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an agent may take, in seconds."""

    connect: float = 5.0
    """Until there is a connection: name lookup, TCP, TLS, a free place in the pool."""
    request: float = 60.0
    """task/create and event/send, from the call to the last byte of the answer."""
    turn: float = 300.0
    """message/send: between two bytes of the answer."""
    turn_total: float = 3_600.0
    """message/send as a whole. An agent that sends a byte every minute would otherwise hold one of
    its places, and its slice's Dagster run, for ever; nobody waits an hour for one HTTP answer."""


@dataclass(frozen=True, slots=True)
class _Request:
    url: URL
    headers: Mapping[str, str]
    body: bytes | AsyncIterator[bytes]


class AcpClient:
    """Speaks ACP to any number of agents over kept-alive connections.

    Opens its connections in the event loop that first uses it, and belongs to that loop. Each
    method makes one attempt; whatever an agent does raises a leaf of `DeliveryError`, whose
    `input_written` says whether the input may have been read and the answer is not known. It is
    false for an agent's error reply: that proves the input was read and refused.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._tls = ssl.create_default_context()  # 20 ms: here, not before the first fire
        self._connector: AgentConnector | None = None
        self._session: aiohttp.ClientSession | None = None
        self._opening: set[asyncio.Task[None]] = set()

    def expect(self, inputs: Sequence[tuple[Agent, int]]) -> None:
        """Open a connection for each input that is due soon. Returns at once."""
        for agent, number in inputs:
            task = asyncio.create_task(self._open_ahead(agent.acp_url, number))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open_ahead(self, acp_url: str, number: int) -> None:
        self._open_session()
        assert self._connector is not None
        # Whatever is wrong there, the request that is to come meets with it too, and says so.
        with suppress(Exception):
            await self._connector.open_ahead(_endpoint(acp_url), number)

    async def create_task(self, about: Told) -> None:
        """`task/create`. Repeating it is safe: the task's id is the same each time."""
        await self._call(about, envelopes.task_create(about), carries_input=False)

    async def send_event(self, about: Told) -> None:
        """`event/send`: the agent takes the input and works on it later."""
        await self._call(about, envelopes.event_send(about), carries_input=True)

    async def cancel_task(self, about: Errand) -> None:
        """`task/cancel`."""
        await self._call(about, envelopes.task_cancel(about), carries_input=False)

    async def interrupt_task(self, about: Errand) -> None:
        """`task/interrupt`."""
        await self._call(about, envelopes.task_interrupt(about), carries_input=False)

    async def stop_task(self, stop: Stop) -> None:
        """`task/cancel`, to a synchronous agent `task/interrupt`."""
        await self._call(stop, envelopes.task_stop(stop), carries_input=False)

    async def send_message(self, assignment: Assignment) -> str | None:
        """`message/send`: the agent answers at once. Returns the beginning of its answer."""
        excerpt = Excerpt()

        async def read(response: aiohttp.ClientResponse, expected_id: str) -> None:
            async for line in _lines(response):
                excerpt.add(result_of(line, expected_id))

        await self._turn(assignment, read)
        return excerpt.text()

    async def converse(self, about: Errand, take: Take) -> None:
        """`message/send`: what the agent answers is given on as it comes, cleaned."""

        async def read(response: aiohttp.ClientResponse, expected_id: str) -> None:
            async for line in _lines(response):
                update = clean(result_of(line, expected_id))
                if isinstance(update, dict):
                    await take(update)

        await self._turn(about, read)

    async def _turn(
        self, about: Told, read: Callable[[aiohttp.ClientResponse, str], Awaitable[None]]
    ) -> None:
        envelope = envelopes.message_send(about)
        attempt = Attempt(
            carries_input=True,
            read_seconds=self._timeouts.turn,
            deadline_seconds=self._timeouts.turn_total,
        )
        request = _request(about, envelope, accept="text/event-stream")
        await self._exchange(request, attempt, lambda response: read(response, envelope["id"]))

    async def aclose(self) -> None:
        """Close every connection."""
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _call(self, about: Told | Stop, envelope: JsonObject, *, carries_input: bool) -> None:
        seconds = self._timeouts.request
        attempt = Attempt(carries_input, read_seconds=seconds, deadline_seconds=seconds)
        request = _request(about, envelope, accept="application/json")

        async def read(response: aiohttp.ClientResponse) -> None:
            result_of(await _read_whole(response), envelope["id"])

        await self._exchange(request, attempt, read)

    async def _exchange(
        self,
        request: _Request,
        attempt: Attempt,
        read: Callable[[aiohttp.ClientResponse], Awaitable[None]],
    ) -> None:
        ATTEMPT.set(attempt)
        try:
            async with asyncio.timeout(attempt.deadline_seconds):
                async with self._open_session().post(
                    request.url,
                    data=request.body,
                    headers=request.headers,
                    timeout=self._limits(attempt),
                    allow_redirects=False,
                ) as response:
                    await _refuse_error_status(response, attempt)
                    await read(response)
        except BadReply as error:
            error.input_written = attempt.input_written
            raise
        except DeliveryError:
            raise
        except Exception as error:
            # Whatever an agent, a name server or a broken network can do to us. aiohttp has no
            # common root for it, and one agent's trouble must stay its own.
            raise self._in_our_terms(error, attempt, request) from error
        finally:
            attempt.drop_unsent()

    def _limits(self, attempt: Attempt) -> aiohttp.ClientTimeout:
        # "connect" is aiohttp's limit for everything before the first byte can be written. Where
        # the deadline strikes first anyway, a second timer would only cost.
        read = attempt.read_seconds if attempt.read_seconds < attempt.deadline_seconds else None
        connect = self._timeouts.connect
        return aiohttp.ClientTimeout(connect=connect, sock_connect=connect, sock_read=read)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._connector = AgentConnector(self._tls)
            self._session = open_session(self._connector)
        return self._session

    def _in_our_terms(self, error: Exception, attempt: Attempt, request: _Request) -> DeliveryError:
        if attempt.connected:
            return _after_writing(error, attempt)
        if isinstance(error, aiohttp.InvalidURL):
            return Unreachable(_NO_ADDRESS.format(quotable(repr(str(request.url)), 200)))
        detail = _detail(error)
        if isinstance(error, TimeoutError):
            seconds = min(self._timeouts.connect, attempt.deadline_seconds)
            detail = f"no connection within {seconds:g} s"
        return Unreachable(f"The agent cannot be reached at {_address(request.url)}: {detail}.")


def _after_writing(error: Exception, attempt: Attempt) -> DeliveryError:
    """What went wrong once there was a connection, and with it perhaps a reader of our bytes."""
    written = attempt.input_written
    if isinstance(error, aiohttp.ServerTimeoutError):  # a TimeoutError, too
        seconds = attempt.read_seconds
        return TimedOut(f"The agent sent nothing for {seconds:g} s.", input_written=written)
    if isinstance(error, TimeoutError):
        seconds = attempt.deadline_seconds
        return TimedOut(f"The agent did not finish within {seconds:g} s.", input_written=written)
    if isinstance(error, aiohttp.ClientPayloadError):
        text = "The agent closed the connection in the middle of its answer."
        return BadReply(text, input_written=written)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        text = f"The connection was lost before the agent answered: {_detail(error)}."
        return TimedOut(text, input_written=written)
    return BadReply(f"The agent's answer is not HTTP: {_detail(error)}.", input_written=written)


def _detail(cause: BaseException) -> str:
    """The operating system's words where there are any, else the library's."""
    if isinstance(cause, aiohttp.ClientConnectorError):
        cause = cause.os_error
    text = str(cause)
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError):
        number = cause.errno or 0  # name lookups have negative ones
        text = os.strerror(number) if number > 0 else cause.strerror or text
    return quotable(text, 200).rstrip(".") or type(cause).__name__


@lru_cache(maxsize=1_024)
def _endpoint(acp_url: str) -> URL:
    """`{acp_url}/api`, whatever path, query or closing slash the agent registered.

    Errors: Unreachable when no request can be sent to such an address.
    """
    try:
        url = URL(acp_url)
        path = url.raw_path.rstrip("/") + "/api"
        endpoint = url.with_path(path, encoded=True, keep_query=True).with_fragment(None)
    except ValueError:
        endpoint = URL()
    if endpoint.scheme not in ("http", "https") or not endpoint.host:
        raise Unreachable(_NO_ADDRESS.format(quotable(repr(acp_url), 200)))
    return endpoint


def _address(url: URL) -> str:
    """What one would look for on the network: no path, no password."""
    return str(url.origin())


def _request(about: Told | Stop, envelope: JsonObject, *, accept: str) -> _Request:
    body = envelopes.encode(envelope)
    headers = {
        **(about.headers if isinstance(about, Errand) else {}),
        "accept": accept,
        "accept-encoding": "identity",  # nothing to unpack: sizes are what they seem
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": "schedules-pipeline",
        "x-request-id": f"{getrandbits(128):032x}",  # uuid4 asks the kernel each time
    }
    if not isinstance(about, Stop):
        headers["x-idempotency-key"] = envelopes.input_key(about)
    if about.agent.api_key:
        headers["x-agent-api-key"] = about.agent.api_key
    content = body if len(body) <= _BODY_CHUNK else _chunks(body)
    return _Request(_endpoint(about.agent.acp_url), headers, content)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    """A large body in pieces: one write of several MiB would hold up every other fire."""
    for start in range(0, len(body), _BODY_CHUNK):
        yield body[start : start + _BODY_CHUNK]


async def _refuse_error_status(response: aiohttp.ClientResponse, attempt: Attempt) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= REPLY_BYTES >> 8:  # 4 KiB: more is not quoted
            break
    quoted = f": {quote_body(bytes(body))}" if body else ""
    # A gateway's 502 or 504 says that *it* got no answer: the agent behind it may have the input.
    unknown = attempt.input_written and status in (502, 504)
    raise AgentError(f"The agent answered HTTP {status}{quoted}.", input_written=unknown)


async def _read_whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > REPLY_BYTES:
            raise BadReply(f"The agent's answer is larger than {REPLY_BYTES} bytes.")
    return bytes(body)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an NDJSON answer that are not blank, the last one with or without its end."""
    total, rest = 0, b""
    async for chunk in response.content.iter_any():
        total += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > REPLY_BYTES:
            raise BadReply(f"A line of the agent's answer is larger than {REPLY_BYTES} bytes.")
        if total > STREAM_BYTES:
            raise BadReply(f"The agent's answer is larger than {STREAM_BYTES} bytes.")
    if rest.strip():
        yield rest
