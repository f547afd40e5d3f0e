"""An authorization provider, asked at fire time: its `/v1/authz` calls, in a slice's event loop.

Its status decides: 200 is yes, 403 is no, anything else is no answer. Nothing is remembered: an
answer serves those who were waiting for the question to be sent, and nobody who asks later.
"""

import asyncio
import json
import logging
from collections import defaultdict
from dataclasses import dataclass

import aiohttp
from yarl import URL

from schedules_pipeline.delivery.connections import KEEPALIVE_SECONDS
from schedules_pipeline.delivery.replies import quotable
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import PermissionDenied, Unavailable
from schedules_pipeline.services.access_port import CREATOR_FIELDS, Operation, Resource

CONNECTIONS = 256
"""To the provider, in all."""
PER_CREATOR = 64
"""Questions in flight: a provider that hangs over one creator still answers for the others."""
QUOTED_BYTES = 4_096
MADE_BEFORE = 409
"""An answer about a task that is registered already: a run died before it could note that."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLimits:
    """How long a provider may take, in seconds."""

    connect: float = 2.0
    answer: float = 5.0
    """From the call to the end of its answer."""
    question: float = 15.0
    """The same, with the wait for a place among those in flight."""


class ProviderAccess:
    """A `FireAccess` that asks a provider. Belongs to the event loop that first uses it."""

    def __init__(self, url: str, limits: ProviderLimits | None = None) -> None:
        """`url`: the provider's origin, as `SCHEDULES_AUTH_URL` has it."""
        self._base = URL(url.rstrip("/"))
        self._limits = limits or ProviderLimits()
        self._session: aiohttp.ClientSession | None = None
        self._places: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PER_CREATOR)
        )
        self._unsent: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._asked: set[asyncio.Task[None]] = set()

    async def check(self, creator: JsonObject, resource: Resource, operation: Operation) -> None:
        """May the creator do this? Errors: PermissionDenied; Unavailable."""
        about = {"resource": _named(resource), "operation": operation.value}
        await self._ask("check", creator, about)

    async def register(self, creator: JsonObject, task: Resource, agent: Resource) -> None:
        """The task is there, under its agent, and the creator's.

        A creator without an id can own nothing. Errors: PermissionDenied; Unavailable.
        """
        if not (creator.get("user_id") or creator.get("service_account_id")):
            log.warning("%s: not registered, its schedule's creator has no id", task.selector)
            return
        named = {"resource": _named(task)}
        await self._ask("register", creator, named | {"parent": _named(agent)})
        await self._ask("grant", creator, named | {"operation": Operation.CREATE.value})

    async def rehearse(self) -> None:
        """The first question opens a connection, as any does after a pause."""

    async def aclose(self) -> None:
        """Close every connection."""
        for question in self._asked:
            question.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _ask(self, call: str, creator: JsonObject, about: JsonObject) -> None:
        """Together with whoever asks the same before it is sent: a burst of one schedule's agent
        has one question. What is under way already may have been decided: no one joins that."""
        principal = {field: creator[field] for field in CREATOR_FIELDS if field in creator}
        who, body = json.dumps(principal), json.dumps({"principal": principal, **about})
        question = self._unsent.get((call, body))
        if question is None:
            question = asyncio.create_task(self._put(call, who, body))
            self._unsent[call, body] = question
            self._asked.add(question)
            question.add_done_callback(self._answered)
        await asyncio.shield(question)

    def _answered(self, question: asyncio.Task[None]) -> None:
        self._asked.discard(question)
        if not question.cancelled():
            question.exception()  # Seen: those who asked may be gone.

    async def _put(self, call: str, who: str, body: str) -> None:
        try:
            async with asyncio.timeout(self._limits.question), self._places[who]:
                self._unsent.pop((call, body), None)
                await self._send(call, body)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(self._trouble(error)) from error
        finally:
            self._unsent.pop((call, body), None)

    async def _send(self, call: str, body: str) -> None:
        try:
            await self._post(call, body)
        except aiohttp.ServerDisconnectedError:
            # A kept connection that it closed as we wrote. Nothing here is harmed by a repetition.
            await self._post(call, body)

    async def _post(self, call: str, body: str) -> None:
        url = self._base / "v1" / "authz" / call
        headers = {"content-type": "application/json", "accept": "application/json"}
        async with self._open_session().post(
            url, data=body, headers=headers, allow_redirects=False
        ) as response:
            status = response.status
            said = await _beginning(response)
        if status == 403:
            raise PermissionDenied(_denial(said))
        if status != 200 and not (call in ("register", "grant") and status == MADE_BEFORE):
            quoted = quotable(said.decode("utf-8", "backslashreplace"), 200)
            raise self._unavailable(f"answered HTTP {status}" + (f": {quoted}" if quoted else ""))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS
                ),
                timeout=aiohttp.ClientTimeout(total=limits.answer, sock_connect=limits.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _trouble(self, error: Exception) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"cannot be reached within {self._limits.connect:g} s"
        if isinstance(error, TimeoutError):
            return f"did not answer in time ({self._limits.answer:g} s)"
        return f"cannot be asked: {quotable(str(error), 200) or type(error).__name__}"

    def _unavailable(self, what: str) -> Unavailable:
        # Not the whole setting: it may hold a password.
        where = f"{self._base.host}:{self._base.port}"
        return Unavailable(f"The authorization provider at {where} {what}.")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Of what it says. All of it, if that is not too much: then its connection is used again."""
    said = b""
    async for chunk in response.content.iter_any():
        said += chunk
        if len(said) >= QUOTED_BYTES:
            break
    return said[:QUOTED_BYTES]


def _named(resource: Resource) -> JsonObject:
    return {"type": resource.type.value, "selector": resource.selector}


def _denial(said: bytes) -> str:
    """The provider's words, wherever providers put them, fit for a row and a log."""
    words = said.decode("utf-8", "backslashreplace")
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        told = (answer.get(key) for key in ("message", "detail", "error"))
        words = next((text for text in told if isinstance(text, str) and text), words)
    text = quotable(words)
    reason = f": {text}" if text else "."
    return f"The authorization provider denies it to the schedule's creator{reason}"
