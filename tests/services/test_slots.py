"""Slots: one agent's trouble is its own."""

import asyncio
from types import SimpleNamespace

import pytest

from schedules_pipeline.services import slots as slots_module
from schedules_pipeline.services.slots import Slots


def test_an_agent_has_64_and_others_have_their_own() -> None:
    slots = Slots(on_free=lambda: None)
    tickets = [slots.take("a") for _ in range(64)]
    assert (slots.free("a"), slots.free("b")) == (0, 64)
    slots.give_back("a", tickets[0])
    assert slots.free("a") == 1
    assert len(set(tickets)) == 64


def test_of_the_512_only_requests_younger_than_two_seconds_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(slots_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    slots = Slots(on_free=lambda: None)
    tickets = [(f"a{n // 64}", slots.take(f"a{n // 64}")) for n in range(512)]
    assert slots.free_in_all() == 0
    now[0] += 2.0
    # They hang. Their agents' slots stay taken, everybody else's are free again.
    assert slots.free_in_all() == 512
    assert slots.free("a0") == 0
    for agent, ticket in tickets:
        slots.give_back(agent, ticket)
    assert (slots.free_in_all(), slots.free("a0")) == (512, 64)


def test_every_return_is_told() -> None:
    told: list[int] = []
    slots = Slots(on_free=lambda: told.append(1))
    slots.give_back("a", slots.take("a"))
    assert told == [1]


def test_all_who_wait_get_their_slot_one_return_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots_module, "PER_AGENT", 3)
    most = 0

    async def crowd() -> None:
        slots = Slots(on_free=lambda: None)
        at_work = 0

        async def work(agent: str) -> None:
            nonlocal at_work, most
            ticket = await slots.wait_for(agent)
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.001)
            at_work -= 1
            slots.give_back(agent, ticket)

        await asyncio.wait_for(asyncio.gather(*(work("a") for _ in range(100))), 10)
        assert slots.free("a") == 3

    asyncio.run(crowd())
    assert most == 3


def test_who_stops_waiting_keeps_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "PER_AGENT", 1)

    async def wait() -> None:
        slots = Slots(on_free=lambda: None)
        ticket = slots.take("a")
        waiting = asyncio.create_task(slots.wait_for("a"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        slots.give_back("a", ticket)
        assert slots.free("a") == 1

    asyncio.run(wait())
