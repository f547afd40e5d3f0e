"""Fires: the state machine as a table, and names that are functions of what they name."""

from datetime import UTC, datetime

from schedules_pipeline.domain.fire import (
    FINAL,
    LEGAL_MOVES,
    REASONS,
    FireReason,
    FireState,
    event_id,
    scheduled_fire_id,
    task_id,
    task_name,
)

NINE = datetime(2026, 6, 24, 9, 0, tzinfo=UTC)


def test_nothing_leaves_a_final_state() -> None:
    assert {before for before, _ in LEGAL_MOVES}.isdisjoint(FINAL)


def test_every_state_is_reached_from_planned() -> None:
    reached = {FireState.PLANNED}
    while more := {after for before, after in LEGAL_MOVES if before in reached} - reached:
        reached |= more
    assert reached == set(FireState)


def test_a_delivery_goes_through_every_step() -> None:
    assert {before for before, after in LEGAL_MOVES if after is FireState.DELIVERED} == {
        FireState.TASK_CREATED
    }
    assert {before for before, after in LEGAL_MOVES if after is FireState.TASK_CREATED} == {
        FireState.CLAIMED
    }


def test_waiting_and_every_end_but_delivery_have_their_reasons_and_every_reason_its_state() -> None:
    assert set(REASONS) == FINAL - {FireState.DELIVERED} | {FireState.WAITING}
    assert frozenset().union(*REASONS.values()) == set(FireReason)


def test_a_fires_id_and_its_tasks_name_have_the_contracts_form() -> None:
    fire = scheduled_fire_id("s-1", NINE)
    assert fire == "agent-run-schedule:s-1-run-2026-06-24T09:00:00Z"
    assert task_name("s-1", fire) == f"scheduled-run:s-1:{fire}"


def test_one_name_is_one_id_whoever_asks() -> None:
    assert task_id("a") == task_id("a") != task_id("b")
    assert event_id("k") == event_id("k") != event_id("k#r1")
