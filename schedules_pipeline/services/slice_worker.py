"""The slice's worker: claims what is due, tells the agents, writes what came of it.

One event loop; the database is reached through two threads, one that claims and one that writes
outcomes (with the heartbeat's that makes three connections, and a fourth only listens). Nothing
stands between a fire's due time and its send but the claim, task/create and the commit of
`task_created`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from schedules_pipeline.domain.schedule import Agent
from schedules_pipeline.errors import DeliveryError, DispatchEnded, Unavailable
from schedules_pipeline.services.access_port import FireAccess
from schedules_pipeline.services.agenda import Agenda, due_soon
from schedules_pipeline.services.claiming import ClaimedFire, ClaimResult, claim, rehearse
from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.fire_delivery import DeliveryRules, FireDelivery
from schedules_pipeline.services.group_commit import GroupCommit
from schedules_pipeline.services.news_port import EVERYWHERE, Ear
from schedules_pipeline.services.outcomes import write_outcomes
from schedules_pipeline.services.platform_port import AgentPlatform, Stop
from schedules_pipeline.services.slots import Slots
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import OpenFire, Outcome, PreviousTask

T = TypeVar("T")
Expected = Sequence[tuple[Agent, int]]

LOOK_AGAIN_SECONDS = 1.0
STANDBY_LOOKS_AGAIN_SECONDS = 5.0
"""Of a run that is up for an hour each look counts, and it is told of everything that joins."""
LOOKS_APART_SECONDS = 0.05
LOOKS_SHARE = 0.1
"""How much of the time may be spent on looking: thousands of fires take theirs to be read, and no
claim is made meanwhile. News may take it to a half."""
LARGEST_AGENDA = 5_000
ANNOUNCED_AHEAD = timedelta(seconds=LOOK_AGAIN_SECONDS + 0.2)
"""How long before its due time a fire is announced to the platform: by one look at least, and
within the time that idle connections are kept (`delivery.connections.KEEPALIVE_SECONDS`)."""
CLAIM_LEAD = timedelta(milliseconds=10)
"""How long before a due time its claim begins: locks and definitions take some 4 ms, on a busy
machine twice that. For so much longer an API writer may have to wait."""
EARLY_RETRY = timedelta(milliseconds=2)
LOCKED_RETRY = timedelta(milliseconds=20)
WAITING_RETRY = timedelta(milliseconds=250)
FULL_RETRY_SECONDS = 0.05
LAST_ANSWERS_SECONDS = 2.0
LONGEST_QUESTION_SECONDS = 1.0

log = logging.getLogger(__name__)


class SliceWorker:
    """Works one slice until its minute is over and it owes nothing, or until it is stopped."""

    def __init__(
        self,
        dispatch: Dispatch,
        platform: AgentPlatform,
        access: FireAccess | None,
        clock: DatabaseTime,
        rules: DeliveryRules,
        ear: Ear,
        *,
        grace: timedelta,
        ends_at: datetime,
        standby: bool = False,
    ) -> None:
        """`standby`: what joins the slice is told of, and all of it is over once the clock is
        switched off."""
        self._dispatch = dispatch
        self._ear = ear
        self._heard_on: int | None = None
        self._platform = platform
        self._access = access
        self._clock = clock
        self._rules = rules
        self._grace = grace
        self._ends_at = ends_at
        self._standby = standby
        self._switched_off = False
        self._agenda = Agenda()
        self._wake = asyncio.Event()
        self._slots = Slots(on_free=self._wake.set)
        self._outcomes = GroupCommit(self._write_outcomes)
        self._claims = ThreadPoolExecutor(1, thread_name_prefix="claims")
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="outcomes")
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._previous: Mapping[str, PreviousTask] = {}
        self._looked_at = float("-inf")
        self._look_at = float("-inf")
        self._look_took = 0.0
        self._announced_until = datetime.min.replace(tzinfo=UTC)
        self._stopping = False

    def stop(self) -> None:
        """Claim nothing more; wait up to 2 s for answers that are on their way."""
        self._stopping = True
        self._dispatch.stop_waiting_after(LAST_ANSWERS_SECONDS)
        self._wake.set()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping

    async def work(self) -> None:
        """Errors: DispatchEnded when another run has been given this slice."""
        try:
            await self._rehearse()
            while not self._stopping and await self._step():
                pass
            if self._stopping:
                await self._wait_for_answers()
        finally:
            await self._close()

    async def _rehearse(self) -> None:
        """All at once, so that all connections are warm for the first fires."""
        run = self._dispatch.dagster_run_id

        def once() -> None:
            self._dispatch.write(lambda tx: rehearse(tx, run))

        rehearsals = [self._in_thread(each, once) for each in (self._claims, self._writes)]
        asking = [] if self._access is None else [self._access.rehearse()]
        await asyncio.gather(*rehearsals, *asking)

    async def _step(self) -> bool:
        """Claim what is due, or wait for what comes next. False when all is done."""
        if self._dispatch.ended:
            raise DispatchEnded(f"Dagster run {self._dispatch.dagster_run_id} was declared ended.")
        self._wake.clear()
        if time.monotonic() >= self._look_at:
            await self._look()
        claim_at = self._claim_at()
        due = self._agenda.take(claim_at, self._slots)
        if due:
            await self._claim(due, claim_at)
            return True
        if not self._agenda and not self._in_hand and self._is_over():
            # The agenda may be a second old, and something may have joined since.
            await self._look()
            if not self._agenda:
                return False
        await self._wait()
        return True

    def _is_over(self) -> bool:
        return self._switched_off or self._clock.now() >= self._ends_at

    async def _look(self) -> None:
        """Read what is open. Fires that join late are found here."""
        if self._clock.now() < self._ends_at:
            await self._listen()
        # Set before the look: news that come during it are of what it may not see.
        hears = self._standby and self._heard_on is not None
        self._looked_at = time.monotonic()
        pause = STANDBY_LOOKS_AGAIN_SECONDS if hears else LOOK_AGAIN_SECONDS
        self._look_at = self._looked_at + max(pause, self._look_took / LOOKS_SHARE)
        found, previous, expected = await self._in_thread(self._claims, self._read_open)
        self._look_took = time.monotonic() - self._looked_at
        self._previous = {each.schedule_id: each for each in previous}
        self._agenda.refill(fire for fire in found if fire.id not in self._in_hand)
        self._platform.expect(expected)

    async def _listen(self) -> None:
        """Before a look: what comes behind it is heard. Without an ear, looking does as well."""
        if self._heard_on is None and await self._in_thread(self._claims, self._ear.open):
            self._heard_on = self._ear.fileno()
            asyncio.get_running_loop().add_reader(self._heard_on, self._hear)

    def _hear(self) -> None:
        """Look soon, if it is about us. Of a crowd of writers, the first ones share a look."""
        told = self._ear.read()
        if EVERYWHERE in told:
            self._stop_listening()  # Lost, perhaps; it costs little to listen anew.
        if EVERYWHERE in told or self._dispatch.slice_key in told:
            apart = max(LOOKS_APART_SECONDS, 2 * self._look_took)
            self._look_at = min(self._look_at, self._looked_at + apart)
            self._wake.set()

    def _stop_listening(self) -> None:
        if self._heard_on is not None:
            asyncio.get_running_loop().remove_reader(self._heard_on)
            self._heard_on = None
        self._ear.close()

    def _read_open(self) -> tuple[Sequence[OpenFire], Sequence[PreviousTask], Expected]:
        """Open fires; tasks that may keep agents busy; inputs due soon, not yet announced."""
        run, key = self._dispatch.dagster_run_id, self._dispatch.slice_key
        now = self._clock.now()
        announced, until = max(self._announced_until, now), now + ANNOUNCED_AHEAD

        def read(tx: Transaction) -> tuple[Sequence[OpenFire], Sequence[PreviousTask], Expected]:
            self._clock.check(tx)
            if self._standby:
                self._switched_off = tx.switches.stopped().all_since is not None
            found = tx.claims.open_in(key, run, LARGEST_AGENDA)
            soon = due_soon(found, announced, until)
            agents = tx.agents.find(soon) if soon else {}
            expected = [(agent, soon[agent.id]) for agent in agents.values()]
            return found, tx.overlaps.previous_tasks(key), expected

        read_now = self._dispatch.write(read)
        self._announced_until = until
        return read_now

    def _claim_at(self) -> datetime:
        """The instant up to which fires are claimed now: the present one, or the next due time.

        The latter only when nothing is due yet: what is late waits for nobody.
        """
        now = self._clock.now()
        next_at = self._agenda.next_at(self._slots)
        is_near = next_at is not None and now < next_at <= now + CLAIM_LEAD
        return next_at if next_at is not None and is_near else now

    async def _claim(self, due: Sequence[OpenFire], claim_at: datetime) -> None:
        # Slots first: while the claim is under way, second attempts take slots too.
        tickets = {fire.id: (fire.agent_id, self._slots.take(fire.agent_id)) for fire in due}
        busy = await self._with_open_tasks(due)
        result = await self._in_thread(self._claims, lambda: self._claim_now(due, busy, claim_at))
        for claimed in result.claimed:
            _, ticket = tickets.pop(claimed.fire_id)
            self._in_hand[claimed.fire_id] = asyncio.create_task(self._see_to(claimed, ticket))
        for agent_id, ticket in tickets.values():
            self._slots.give_back(agent_id, ticket)
        for stop in result.stops:
            self._run_errand(self._tell_to_stop(stop))
        now = self._clock.now()
        # By our clock they are due; the database, which is right, will say so in a moment.
        self._agenda.put_back(result.early, now + EARLY_RETRY)
        self._agenda.put_back(result.locked, now + LOCKED_RETRY)
        self._agenda.park(result.waiting, now + WAITING_RETRY)

    def _claim_now(
        self, due: Sequence[OpenFire], busy: Collection[str], claim_at: datetime
    ) -> ClaimResult:
        run, grace = self._dispatch.dagster_run_id, self._grace

        def wait() -> None:
            self._clock.sleep_until(claim_at)

        until_due = wait if claim_at > self._clock.now() else None
        return self._dispatch.write(lambda tx: claim(tx, due, run, grace, busy, until_due))

    async def _with_open_tasks(self, due: Sequence[OpenFire]) -> Collection[str]:
        """The fires whose tasks keep the agents of those due busy; most schedules mind no tasks.

        A platform that does not say within a second stops nobody: the agent is taken to be free.
        """
        previous = {f.schedule_id: self._previous.get(f.schedule_id) for f in due}
        fires = {each.task_id: each.fire_id for each in previous.values() if each is not None}
        if not fires:
            return ()
        try:
            async with asyncio.timeout(LONGEST_QUESTION_SECONDS):
                return [fires[task] for task in await self._platform.open_tasks(set(fires))]
        except (TimeoutError, DeliveryError, Unavailable) as error:
            log.warning("whether %d tasks are final cannot be told: %s", len(fires), error)
            return ()

    def _run_errand(self, work: Coroutine[None, None, None]) -> None:
        errand = asyncio.create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _tell_to_stop(self, stop: Stop) -> None:
        """Whether the agent hears it is its own trouble: the fire that waits has a time limit."""
        try:
            await self._prove()
            await self._platform.stop_task(stop)
        except (DeliveryError, DispatchEnded) as error:
            log.warning("task %s: its agent was not told to stop: %s", stop.task.id, error)

    async def _see_to(self, claimed: ClaimedFire, ticket: int) -> None:
        """One fire, from its claim to its end. Its failure is nobody else's."""
        delivery = FireDelivery(
            claimed,
            ticket,
            platform=self._platform,
            access=self._access,
            slots=self._slots,
            clock=self._clock,
            rules=self._rules,
            commit=self._outcomes.put,
            prove=self._prove,
        )
        try:
            await delivery.see_to_its_end()
        except DispatchEnded:
            pass  # `_step` sees it too, and ends the work.
        except Exception:
            # Its row says that it is open, so the next look finds it.
            log.exception("fire %s: its outcome could not be written", claimed.fire_id)
        finally:
            del self._in_hand[claimed.fire_id]
            self._agenda.let_next_go(claimed.schedule_id, self._clock.now())
            self._wake.set()

    async def _wait(self) -> None:
        """Until the next fire is due, a slot is free, news have come, or a second has passed."""
        next_at = self._agenda.next_at(self._slots)
        seconds = self._look_at - time.monotonic()
        if self._slots.free_in_all() <= 0:
            # Nothing can be taken, whatever is due; nobody says when a request turns 2 s old.
            seconds = min(seconds, FULL_RETRY_SECONDS)
        elif next_at is not None:
            until_claim = (next_at - CLAIM_LEAD - self._clock.now()).total_seconds()
            seconds = min(seconds, until_claim)
        # At least one turn of the loop, always: the fires in hand live in it.
        timer = asyncio.get_running_loop().call_later(max(seconds, 0), self._wake.set)
        await self._wake.wait()
        timer.cancel()

    async def _wait_for_answers(self) -> None:
        if self._in_hand:
            await asyncio.wait(self._in_hand.values(), timeout=LAST_ANSWERS_SECONDS)

    async def _close(self) -> None:
        self._stop_listening()
        if self._errands and not self._stopping:
            await asyncio.wait(self._errands, timeout=LAST_ANSWERS_SECONDS)
        left = [*self._in_hand.values(), *self._errands]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._outcomes.drained()
        await self._platform.aclose()
        if self._access is not None:
            await self._access.aclose()
        self._claims.shutdown()
        self._writes.shutdown()

    async def _prove(self) -> None:
        """Nothing is sent on the strength of an old proof: see `services.dispatch`."""
        if self._dispatch.proof_is_old or self._dispatch.ended:
            await self._in_thread(self._writes, self._dispatch.prove)

    async def _write_outcomes(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        run = self._dispatch.dagster_run_id
        kept = await self._in_thread(
            self._writes,
            lambda: self._dispatch.write(lambda tx: write_outcomes(tx, outcomes, run)),
        )
        return [outcome.fire_id in kept for outcome in outcomes]

    async def _in_thread(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
