"""Who may do what, at fire time, with `SCHEDULES_AUTH=agentex`: the provider is asked.

Its status decides: 200 is yes, 403 is no, anything else is no answer. Nothing is remembered: an
answer serves those who were waiting for the question to be sent, and nobody who asks later.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

from schedules_pipeline.access.provider import MAX_ANSWER_BYTES, Reply, refusal
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import PermissionDenied, Unauthorized, Unavailable
from schedules_pipeline.services.access_port import Operation, Resource, creator_of

PER_CREATOR = 32
"""Questions in flight: a provider that hangs over one creator still answers for the others."""
QUESTION_SECONDS = 15.0
"""For an answer, with the wait for a place among those in flight."""
MADE_BEFORE = 409
"""An answer about a task that is registered already: a run died before it could note that."""
HEADERS = {"content-type": "application/json", "accept": "application/json"}

log = logging.getLogger("schedules.access")


class AsyncProvider(Protocol):
    """Asks the provider. `delivery.fire_provider` does it over HTTP."""

    async def ask(self, path: str, headers: Mapping[str, str], body: bytes, *, most: int) -> Reply:
        """POST. Errors: Unavailable: no answer in time, or one of more than `most` bytes."""

    async def aclose(self) -> None:
        """Give the connections back."""


class ProviderSays:
    """A `FireAccess` that asks a provider. Belongs to the event loop that first uses it."""

    def __init__(self, provider: AsyncProvider, question_seconds: float = QUESTION_SECONDS) -> None:
        self._provider = provider
        self._question_seconds = question_seconds
        self._places: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PER_CREATOR)
        )
        self._unsent: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._asked: set[asyncio.Task[None]] = set()

    async def check(self, creator: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: PermissionDenied, with the provider's words; whatever it answers otherwise."""
        about = {"resource": _named(resource), "operation": operation.value}
        try:
            await self._ask("check", creator, about)
        except PermissionDenied as denial:
            what = f"{operation.value} {resource.type.value} {resource.selector}"
            raise PermissionDenied(
                f"The schedule's creator may not {what}, by the authorization provider: {denial}"
            ) from denial

    async def register(self, creator: JsonObject, task: Resource, agent: Resource) -> None:
        """The task is there, under its agent, and the creator's.

        Not for a creator that names nobody: the contract skips it then. Errors: as of `check`.
        """
        if not (creator.get("user_id") or creator.get("service_account_id")):
            log.warning(
                "not registered: its schedule's creator has neither user_id nor service_account_id",
                extra={"facts": {"resource": task.selector}},
            )
            return
        named = {"resource": _named(task)}
        await self._ask("register", creator, named | {"parent": _named(agent)})
        await self._ask("grant", creator, named | {"operation": Operation.CREATE.value})

    async def rehearse(self) -> None:
        """The first question opens a connection, as any does after a pause."""

    async def aclose(self) -> None:
        """Nobody waits for an answer any more."""
        for question in self._asked:
            question.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self._provider.aclose()

    async def _ask(self, call: str, creator: JsonObject, about: JsonObject) -> None:
        """Together with whoever asks the same before it is sent: a burst of one creator's fires
        for one agent has one question. What is under way may be decided: no one joins that."""
        principal = creator_of(creator)
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
            async with asyncio.timeout(self._question_seconds), self._places[who]:
                del self._unsent[call, body]
                await self._send(f"/v1/authz/{call}", body)
        except TimeoutError:
            raise Unavailable(
                "The authorization provider does not keep up: no answer within "
                f"{self._question_seconds:g} s."
            ) from None
        finally:
            self._unsent.pop((call, body), None)

    async def _send(self, path: str, body: str) -> None:
        reply = await self._provider.ask(path, HEADERS, body.encode(), most=MAX_ANSWER_BYTES)
        known = reply.status == MADE_BEFORE and not path.endswith("/check")
        if reply.status == 200 or known:
            return
        try:
            raise refusal(path, reply)
        except Unauthorized:
            raise Unavailable(
                f"The authorization provider answered {path} with 401: it does not know the "
                "schedule's creator, or not us."
            ) from None


def _named(resource: Resource) -> JsonObject:
    return {"type": resource.type.value, "selector": resource.selector}
