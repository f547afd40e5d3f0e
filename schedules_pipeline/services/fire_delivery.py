"""One claimed fire, seen to its end: attempts, waits between them, and what is written when.

`task_created` is committed before the input goes out, `delivered` after: so whoever takes this
fire over knows whether its input may have been sent.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.errors import (
    DeliveryError,
    DispatchEnded,
    PermissionDenied,
    Unavailable,
)
from schedules_pipeline.services.access_port import FireAccess
from schedules_pipeline.services.claiming import ClaimedFire
from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.services.dispatch import RETRY_SECONDS
from schedules_pipeline.services.permission import Permission
from schedules_pipeline.services.platform_port import AgentPlatform
from schedules_pipeline.services.slots import Slots
from schedules_pipeline.services.stored import Outcome

ATTEMPTS = 5
SPREAD = 0.2
LONGEST_ERROR = 1_000
PATIENCE_SECONDS = 1.0
"""How long a question about permission may hold one of the agent's slots."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """The wait before a second attempt, in seconds; it doubles with each, ± 20 %."""

    retry_wait_seconds: float


class InternalError(DeliveryError):
    """A defect of ours, not the agent's doing. The log has the traceback."""

    reason = "internal_error"


class FireDelivery:
    """The life of one claimed fire in this run."""

    def __init__(
        self,
        claimed: ClaimedFire,
        ticket: int,
        *,
        platform: AgentPlatform,
        access: FireAccess | None,
        slots: Slots,
        clock: DatabaseTime,
        rules: DeliveryRules,
        commit: Callable[[Outcome], Awaitable[bool]],
        prove: Callable[[], Awaitable[None]],
    ) -> None:
        """`ticket` is the agent's slot that was taken for it; it is given back here.

        Without `access` nobody is asked whether the creator may.
        """
        self._claimed = claimed
        self._ticket: int | None = ticket
        self._platform = platform
        self._permission = (
            None if access is None else Permission(access, claimed.creator, claimed.assignment)
        )
        self._slots = slots
        self._clock = clock
        self._rules = rules
        self._commit = commit
        self._prove = prove
        self._task_created = claimed.task_created
        self._attempts = claimed.attempts
        self._unknown = claimed.task_created
        self._doubtful = False
        self._sent_at: datetime | None = None
        self._error: str | None = None

    async def see_to_its_end(self) -> None:
        """Returns when the fire's end is committed, or when it is no longer ours.

        Errors: DispatchEnded.
        """
        try:
            while not await self._attempt():
                await asyncio.sleep(self._wait_seconds())
                self._ticket = await self._slots.wait_for(self._claimed.agent_id)
        finally:
            self._leave_slot()

    async def _attempt(self) -> bool:
        """One attempt. True when there is nothing more to do."""
        self._attempts += 1
        try:
            return await self._create_and_send()
        except DispatchEnded:
            raise
        except PermissionDenied as error:
            return await self._denied(error)
        except DeliveryError as error:
            return await self._failed(error)
        except Exception as error:
            log.exception("fire %s: a defect in the scheduler", self._claimed.fire_id)
            return await self._failed(InternalError(f"{type(error).__name__}; see the run's log"))

    async def _create_and_send(self) -> bool:
        if self._unknown and await self._ends_in_doubt(in_attempt=True):
            return True
        await self._ask(Permission.to_go_on if self._task_created else Permission.to_start)
        if not self._task_created and not await self._make_task():
            return True  # Taken from us: another dispatch sees to it.
        await self._ask(Permission.to_send)
        if self._unknown and not await self._mark_doubtful():
            return True
        # Last, right before the send: the answers above may have taken their time.
        await self._prove()
        self._sent_at = self._clock.now()
        reply = await self._platform.send_input(self._claimed.assignment)
        self._leave_slot()
        await self._write(FireState.DELIVERED, reply_excerpt=reply)
        return True

    async def _make_task(self) -> bool:
        """False: the fire is no longer ours."""
        await self._prove()
        await self._platform.create_task(self._claimed.assignment)
        await self._ask(Permission.task_made)
        self._task_created = await self._write(FireState.TASK_CREATED, in_attempt=True)
        return self._task_created

    async def _ask(self, question: Callable[[Permission], Awaitable[None]]) -> None:
        """Whoever takes long over the answer does not keep the agent's slot."""
        if self._permission is None:
            return
        timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._leave_slot)
        try:
            await question(self._permission)
        finally:
            timer.cancel()
        if self._ticket is None:
            self._ticket = await self._slots.wait_for(self._claimed.agent_id)

    async def _denied(self, error: PermissionDenied) -> bool:
        """The creator may not: no attempt will change that. What may be out already stays so."""
        self._leave_slot()
        denial = str(error)[:LONGEST_ERROR]
        if self._unknown:
            await self._write(
                FireState.FAILED,
                reason=FireReason.DELIVERY_UNKNOWN,
                error=self._unknown_because(f"either: {denial}"),
            )
        else:
            reason = FireReason.PERMISSION_DENIED
            await self._write(FireState.SKIPPED, reason=reason, error=denial)
        return True

    async def _mark_doubtful(self) -> bool:
        """Before an input that may have gone out goes out again; False: it is no longer ours.

        Committed first: whatever happens next, the agent may read two.
        """
        self._doubtful = True
        return await self._write(FireState.TASK_CREATED, error=self._error, in_attempt=True)

    async def _ends_in_doubt(self, *, in_attempt: bool) -> bool:
        """End a fire that needs no other send, or must not have one. False: it may."""
        if await self._shows_input():
            await self._write(FireState.DELIVERED, in_attempt=in_attempt)
            return True
        if not self._claimed.may_send_again:
            await self._write(
                FireState.FAILED,
                reason=FireReason.DELIVERY_UNKNOWN,
                error=self._unknown_because(
                    "(delivery_guarantee at_most_once, or too late by now); a redrive does that."
                ),
                in_attempt=in_attempt,
            )
            return True
        return False

    async def _shows_input(self) -> bool:
        """Waits for a database that is away, as the outcome would have to."""
        while True:
            try:
                return await self._platform.shows_input(self._claimed.assignment)
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)

    def _unknown_because(self, why_not_again: str) -> str:
        cause = self._error or "The run that held it ended between its send and the answer."
        return (
            f"{cause} So the agent may have the input, and nothing shows whether it has. It is not "
            f"sent again {why_not_again}"
        )[:LONGEST_ERROR]

    async def _failed(self, error: DeliveryError) -> bool:
        """Note what went wrong; the last attempt's error is the fire's end."""
        self._leave_slot()
        self._unknown = self._unknown or error.input_written
        self._error = str(error)[:LONGEST_ERROR]
        if self._attempts < ATTEMPTS:
            return not await self._write(self._state(), error=self._error)
        if not self._unknown or not await self._ends_in_doubt(in_attempt=False):
            reason = FireReason(error.reason)
            await self._write(FireState.FAILED, reason=reason, error=self._error)
        return True

    def _state(self) -> FireState:
        return FireState.TASK_CREATED if self._task_created else FireState.CLAIMED

    async def _write(
        self,
        state: FireState,
        *,
        reason: FireReason | None = None,
        error: str | None = None,
        reply_excerpt: str | None = None,
        in_attempt: bool = False,
    ) -> bool:
        # Only a finished attempt counts: a take-over goes on from here.
        attempts = self._attempts - 1 if in_attempt else self._attempts
        return await self._commit(
            Outcome(
                fire_id=self._claimed.fire_id,
                schedule_id=self._claimed.schedule_id,
                pause_after_failures=self._claimed.pause_after_failures,
                lets_next_go=self._claimed.lets_next_go,
                state=state,
                attempts=attempts,
                reason=reason,
                error=error,
                sent_at=self._sent_at if state is FireState.DELIVERED else None,
                reply_excerpt=reply_excerpt,
                possible_duplicate=self._doubtful,
            )
        )

    def _wait_seconds(self) -> float:
        doubled: float = self._rules.retry_wait_seconds * 2 ** (self._attempts - 1)
        return doubled * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311 - no secret

    def _leave_slot(self) -> None:
        if self._ticket is not None:
            self._slots.give_back(self._claimed.agent_id, self._ticket)
            self._ticket = None
