"""The agenda: earliest due first, agents in turn, never more than there are slots."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schedules_pipeline.services import slots as slots_module
from schedules_pipeline.services.agenda import Agenda, due_soon
from schedules_pipeline.services.slots import Slots
from schedules_pipeline.services.stored import OpenFire

NOON = datetime(2026, 6, 24, 12, 0, tzinfo=UTC)


def fire(agent: str, number: int, seconds: float = 0) -> OpenFire:
    return OpenFire(
        id=f"{agent}-{number:03}",
        schedule_id=f"s-{agent}-{number}",
        agent_id=agent,
        due_at=NOON + timedelta(seconds=seconds),
    )


def fires(agent: str, number: int, seconds: float = 0) -> list[OpenFire]:
    return [fire(agent, n, seconds) for n in range(number)]


@pytest.fixture
def slots() -> Slots:
    return Slots(on_free=lambda: None)


def agents(taken: list[OpenFire]) -> Counter[str]:
    return Counter(each.agent_id for each in taken)


def test_what_is_not_due_stays_and_says_when_it_will_be(slots: Slots) -> None:
    agenda = Agenda()
    agenda.refill([fire("a", 1, 5), fire("a", 2, -5), fire("b", 1, 3)])
    assert [each.id for each in agenda.take(NOON, slots)] == ["a-002"]
    assert len(agenda) == 2
    assert agenda.next_at(slots) == NOON + timedelta(seconds=3)
    assert agenda.take(NOON, slots) == []


def test_the_earliest_of_an_agent_goes_first(slots: Slots) -> None:
    agenda = Agenda()
    agenda.refill([fire("a", 1, -1), fire("a", 2, -3), fire("a", 3, -2)])
    assert [each.id for each in agenda.take(NOON, slots)] == ["a-002", "a-003", "a-001"]


def test_agents_are_served_in_turn_however_many_fires_one_has(slots: Slots) -> None:
    agenda = Agenda()
    agenda.refill(fires("crowd", 300, -60) + fires("b", 2) + fires("c", 2))
    assert agents(agenda.take(NOON, slots)) == {"crowd": 64, "b": 2, "c": 2}


def test_at_most_a_hundred_are_claimed_at_once_and_the_turn_goes_on_where_it_was(
    slots: Slots,
) -> None:
    agenda = Agenda()
    agenda.refill([each for agent in "abcdef" for each in fires(agent, 40)])
    first = agenda.take(NOON, slots)
    assert len(first) == 100
    assert set(agents(first).values()) == {16, 17}
    assert len(agenda.take(NOON, slots)) == 100
    assert len(agenda.take(NOON, slots)) == 40
    assert len(agenda) == 0
    assert agenda.next_at(slots) is None


def test_an_agent_without_a_slot_is_passed_over(slots: Slots) -> None:
    for _ in range(63):
        slots.take("busy")
    agenda = Agenda()
    agenda.refill(fires("busy", 5, -9) + fires("free", 5))
    assert agents(agenda.take(NOON, slots)) == {"busy": 1, "free": 5}
    slots.take("busy")
    assert agenda.take(NOON, slots) == []
    # Nothing to wait for by the clock: the slot's return will say so.
    assert agenda.next_at(slots) is None


def test_when_all_slots_are_taken_nothing_is(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "IN_ALL", 3)
    agenda = Agenda()
    agenda.refill(fires("a", 5))
    slots.take("b")
    assert len(agenda.take(NOON, slots)) == 2
    slots.take("b")
    slots.take("b")
    assert agenda.take(NOON, slots) == []


def test_what_is_put_back_is_not_asked_for_before_its_time(slots: Slots) -> None:
    agenda = Agenda()
    agenda.put_back([fire("new", 1)], NOON + timedelta(milliseconds=20))
    assert agenda.take(NOON, slots) == []
    assert agenda.next_at(slots) == NOON + timedelta(milliseconds=20)
    assert len(agenda.take(NOON + timedelta(milliseconds=20), slots)) == 1
    # Its due time stands where that is later.
    agenda.put_back([fire("new", 2, 9)], NOON)
    assert agenda.next_at(slots) == NOON + timedelta(seconds=9)


def test_what_is_put_back_is_overtaken_by_no_later_fire_of_its_schedule(slots: Slots) -> None:
    agenda = Agenda()
    first, second = (replace(fire("a", n, n - 9), schedule_id="one") for n in (1, 2))
    other = fire("a", 3, -5)
    agenda.refill([second, other])
    agenda.put_back([first], NOON + timedelta(milliseconds=20))
    assert agenda.take(NOON, slots) == [other]
    assert agenda.take(NOON + timedelta(milliseconds=20), slots) == [first, second]


def test_a_refill_replaces_what_was_known(slots: Slots) -> None:
    agenda = Agenda()
    agenda.refill(fires("a", 3))
    agenda.refill(fires("b", 1))
    assert agents(agenda.take(NOON, slots)) == {"b": 1}


def test_what_is_due_soon_is_counted_by_agent_and_never_exceeds_the_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon = NOON + timedelta(seconds=1)
    known = [fire("a", 1), fire("a", 2, 0.5), fire("a", 3, 1), fire("b", 1, 1), fire("b", 2, 1.1)]
    assert due_soon(known, NOON, soon) == {"a": 2, "b": 1}
    crowds = [each for agent in "cdefghijkl" for each in fires(agent, 90, 1)]
    counted = due_soon(crowds, NOON, soon)
    assert set(counted.values()) == {64}
    assert sum(counted.values()) == 512
