"""Slices worked in the test's own process: by a whole dispatcher, or by a worker alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from schedules_pipeline.domain.schedule import Agent, JsonObject
from schedules_pipeline.services.access_port import FireAccess
from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.dispatching import Dispatcher
from schedules_pipeline.services.fire_delivery import DeliveryRules
from schedules_pipeline.services.platform_port import AgentPlatform, Assignment, Stop
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.settings import Settings
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.agents import RunningAgent
from tests.ledger import GRACE, database_now

QUICK = DeliveryRules(retry_wait_seconds=0.01)


@contextmanager
def a_dispatcher(
    database_url: str,
    slice_key: str,
    run: str = "run-1",
    *,
    by_person: bool = False,
    **settings: Any,
) -> Iterator[Dispatcher]:
    """What a Dagster run of the job has: an agent's second try comes at once, a hung one ends."""
    values = {"retry_wait_seconds": 0.01, "request_timeout_seconds": 0.3} | settings
    wiring = Wiring(Settings(database_url=database_url, **values), pool_size=3)
    try:
        with wiring.dispatcher(run, slice_key, by_person=by_person) as dispatcher:
            yield dispatcher
    finally:
        wiring.close()


def work_slice(database_url: str, slice_key: str, run: str = "run-1", **settings: Any) -> None:
    """One Dagster run's first op."""
    with a_dispatcher(database_url, slice_key, run, by_person=False, **settings) as dispatcher:
        dispatcher.dispatch()


class Platform:
    """An agent platform that only counts. Give it other `create` and `send` to misbehave."""

    def __init__(
        self,
        create: Callable[[Assignment], Awaitable[None]] | None = None,
        send: Callable[[Assignment], Awaitable[str | None]] | None = None,
        shows: Callable[[Assignment], bool] = lambda _assignment: False,
        open_tasks: Collection[str] = (),
    ) -> None:
        self.expected: list[tuple[str, int]] = []
        self.created: list[str] = []
        self.sent: list[str] = []
        self._create = create
        self._send = send
        self._shows = shows
        self.stopped: list[Stop] = []
        self.not_final = set(open_tasks)

    def expect(self, inputs: Sequence[tuple[Agent, int]]) -> None:
        self.expected += [(agent.id, number) for agent, number in inputs]

    async def create_task(self, assignment: Assignment) -> None:
        self.created.append(assignment.fire_id)
        if self._create is not None:
            await self._create(assignment)

    async def send_input(self, assignment: Assignment) -> str | None:
        self.sent.append(assignment.fire_id)
        return None if self._send is None else await self._send(assignment)

    async def shows_input(self, assignment: Assignment) -> bool:
        return self._shows(assignment)

    async def stop_task(self, stop: Stop) -> None:
        self.stopped.append(stop)

    async def open_tasks(self, task_ids: Collection[str]) -> Collection[str]:
        return self.not_final & set(task_ids)

    async def aclose(self) -> None:
        pass


def work_alone(
    store: PostgresStore,
    slice_key: str,
    platform: AgentPlatform,
    *,
    run: str = "run-1",
    ends_in: float = 0,
    rules: DeliveryRules = QUICK,
    beside: Callable[[SliceWorker, Dispatch], Awaitable[None]] | None = None,
    clock: DatabaseTime | None = None,
    access: FireAccess | None = None,
    standby: bool = False,
) -> None:
    """A worker in this thread; `beside` runs in its event loop. Fails after 30 s."""
    dispatch = Dispatch(store, run, slice_key)
    dispatch.begin(by_person=False)

    async def work() -> None:
        worker = SliceWorker(
            dispatch,
            platform,
            access,
            clock or DatabaseTime(store),
            rules,
            store.ear(),
            grace=GRACE,
            ends_at=database_now(store) + timedelta(seconds=ends_in),
            standby=standby,
        )
        companion = asyncio.ensure_future(beside(worker, dispatch)) if beside else None
        try:
            await asyncio.wait_for(worker.work(), 30)
        finally:
            if companion is not None:
                companion.cancel()
                await asyncio.gather(companion, return_exceptions=True)

    try:
        asyncio.run(work())
    finally:
        dispatch.finish()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or process writes."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def inputs(agent: RunningAgent, fire_ids: list[str]) -> list[JsonObject]:
    """The inputs of these fires that the agent received."""
    wanted = set(fire_ids)
    return [
        request
        for request in agent.received()
        if request["method"] in ("event/send", "message/send")
        and request["idempotency_key"] in wanted
    ]


def tasks_made(agent: RunningAgent, fire_ids: list[str]) -> list[JsonObject]:
    """The `task/create` requests for these fires that the agent received."""
    wanted = set(fire_ids)
    return [r for r in agent.received("task/create") if r["idempotency_key"] in wanted]
