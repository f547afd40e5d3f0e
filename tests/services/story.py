"""A platform, an authority and a ledger for one claimed fire; what happened there, in order."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schedules_pipeline.domain.schedule import Agent, JsonObject
from schedules_pipeline.services.access_port import Operation, Resource
from schedules_pipeline.services.claiming import ClaimedFire
from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.services.fire_delivery import DeliveryRules, FireDelivery
from schedules_pipeline.services.platform_port import Assignment, Stop
from schedules_pipeline.services.slots import Slots
from schedules_pipeline.services.stored import Outcome
from tests.delivery.factories import make_assignment

NOON = datetime(2026, 6, 24, 12, 0, tzinfo=UTC)
CREATOR = {"principal_type": "user", "user_id": "ann"}
Step = Callable[[], Awaitable[object]]


class StandingClock(DatabaseTime):
    """It is noon."""

    def __init__(self) -> None:
        pass

    def now(self) -> datetime:
        return NOON


async def nothing() -> None:
    """All is well."""


def raising(*errors: Exception | None) -> Step:
    """Each call raises the next of these, the last again and again."""
    left = list(errors)

    async def step() -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    return step


@dataclass
class Story:
    """What happened, in order; the parts can be made to fail."""

    create: Step = nothing
    send: Step = nothing
    prove: Step = nothing
    shown: bool = False
    kept: Callable[[Outcome], bool] = lambda _outcome: True
    answers: dict[str, Step] = field(default_factory=dict)
    """To questions about permission, by their operation (and `register`); by default yes."""
    asked: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def expect(self, inputs: Sequence[tuple[Agent, int]]) -> None:
        raise NotImplementedError("one fire expects nothing")

    async def create_task(self, assignment: Assignment) -> None:
        self.events.append("create")
        await self.create()

    async def send_input(self, assignment: Assignment) -> str | None:
        self.events.append("send")
        await self.send()
        return "hello"

    async def shows_input(self, assignment: Assignment) -> bool:
        self.events.append("look")
        return self.shown

    async def stop_task(self, stop: Stop) -> None:
        raise AssertionError(stop)

    async def open_tasks(self, task_ids: Collection[str]) -> Collection[str]:
        return task_ids

    async def check(self, creator: JsonObject, resource: Resource, operation: Operation) -> None:
        assert creator == CREATOR
        asked = f"{resource.type.value} {resource.selector} {operation.value}"
        self.asked.append(asked)
        await self.answers.get(asked.split()[-1], nothing)()

    async def register(self, creator: JsonObject, task: Resource, agent: Resource) -> None:
        assert creator == CREATOR
        self.asked.append(f"register {task.selector} under {agent.selector}")
        await self.answers.get("register", nothing)()

    async def rehearse(self) -> None:
        raise NotImplementedError("the worker rehearses")

    async def aclose(self) -> None:
        pass

    async def proved(self) -> None:
        await self.prove()

    async def commit(self, outcome: Outcome) -> bool:
        self.events.append(outcome.state.value)
        self.outcomes.append(outcome)
        return self.kept(outcome)


def see_to(
    story: Story,
    *,
    task_created: bool = False,
    attempts: int = 0,
    may_send_again: bool = True,
) -> Slots:
    """Runs the delivery to its end; returns the slots, all given back."""

    async def run() -> Slots:
        slots = Slots(on_free=lambda: None)
        claimed = ClaimedFire(
            fire_id="fire",
            schedule_id="schedule",
            agent_id="agent",
            due_at=NOON,
            attempts=attempts,
            task_created=task_created,
            may_send_again=may_send_again,
            pause_after_failures=None,
            lets_next_go=False,
            creator=CREATOR,
            assignment=make_assignment("http://127.0.0.1:9"),
        )
        delivery = FireDelivery(
            claimed,
            slots.take("agent"),
            platform=story,
            access=story,
            slots=slots,
            clock=StandingClock(),
            rules=DeliveryRules(retry_wait_seconds=0.001),
            commit=story.commit,
            prove=story.proved,
        )
        try:
            await asyncio.wait_for(delivery.see_to_its_end(), 10)
        finally:
            assert slots.free("agent") == 64
        return slots

    return asyncio.run(run())
