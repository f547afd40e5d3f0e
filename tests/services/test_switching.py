"""The clock's switches: what a PUT has answered holds at once, and nothing is lost by it."""

import threading
from typing import Any

import pytest

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.slices import SliceKind, floor_minute
from schedules_pipeline.errors import NotFound
from schedules_pipeline.services.claiming import claim
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.switching import Switches
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    GRACE,
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    one,
    past_slice,
    query,
    seconds,
    see_fire,
    the_clock_ticked,
)
from tests.services.working import Platform, work_alone


def turn(store: PostgresStore, agent_id: str | None, *, off: bool) -> None:
    Switches(store).turn(agent_id, off=off, actor={"user_id": "u"}, note="why")


def tick(store: PostgresStore) -> list[str]:
    clock = Clock(store, RULES, Tasks(store).not_final)
    return [each.slice_key for each in clock.tick(lambda _since: ())]


@pytest.mark.parametrize("whose", ["all", "agent"])
def test_off_nothing_is_planned_emitted_or_claimed_and_on_again_it_goes_out(
    store: PostgresStore, whose: str
) -> None:
    schedule = a_schedule(store, every=86_400, clock_at=database_now(store) - seconds(86_399))
    scope = None if whose == "all" else schedule.agent_id
    key = past_slice(store, 1)
    fire = a_fire(store, schedule, key, database_now(store) - seconds(20))
    query(store, "update schedule_clock set next_nominal_at = statement_timestamp(), "
                 "next_due_at = statement_timestamp()")  # fmt: skip
    turn(store, scope, off=True)
    platform = Platform()

    assert tick(store) == []
    work_alone(store, key, platform)

    assert platform.sent == []
    assert see_fire(store, fire).state == FireState.PLANNED
    assert one(store, "select count(*) from fires") == 1
    assert one(store, "select settled_at from slices where slice_key = :key", key=key) is None
    turn(store, scope, off=False)
    assert key in tick(store)
    work_alone(store, key, platform, run="run-2")
    assert platform.sent == [fire]


def test_one_agents_switch_leaves_the_others_alone(store: PostgresStore) -> None:
    now = database_now(store)
    off, on = an_agent(store), an_agent(store)
    for agent in (off, on):
        a_schedule(store, agent, every=1, clock_at=now)
    turn(store, off.id, off=True)

    Planner(store, RULES).plan(lambda: False)

    assert {row.agent_id for row in query(store, "select agent_id from fires")} == {on.id}


def test_a_fire_whose_task_is_made_is_not_taken_over_while_off(store: PostgresStore) -> None:
    schedule, key = a_schedule(store, stopped=True), past_slice(store)
    dead = a_dispatch(store, key, finished=True)
    at = database_now(store) - seconds(5)
    fire = a_fire(store, schedule, key, at, FireState.TASK_CREATED, run=dead)
    turn(store, None, off=True)
    platform = Platform()

    work_alone(store, key, platform)

    assert platform.sent == []
    assert see_fire(store, fire).state == FireState.TASK_CREATED


def test_who_turns_a_switch_waits_for_a_claim_under_way(store: PostgresStore) -> None:
    schedule, key = a_schedule(store, stopped=True), past_slice(store)
    a_fire(store, schedule, key, database_now(store) - seconds(5))
    run = a_dispatch(store, key)
    wanted = store.run(lambda tx: tx.claims.open_in(key, run, 10))
    answered = threading.Event()

    def turn_off() -> None:
        turn(store, None, off=True)
        answered.set()

    turning = threading.Thread(target=turn_off)

    def claim_and_wait(tx: Any) -> int:
        claimed = claim(tx, wanted, run, GRACE).claimed
        turning.start()
        assert not answered.wait(0.3)
        return len(claimed)

    assert store.run(claim_and_wait) == 1
    turning.join(10)
    assert answered.is_set()
    another = a_fire(store, schedule, key, database_now(store) - seconds(4))
    assert store.run(lambda tx: claim(tx, wanted, run, GRACE)).claimed == []
    assert see_fire(store, another).state == FireState.PLANNED


@pytest.mark.parametrize("by", ["switch", "sensor"])
def test_after_an_hour_off_nothing_that_was_armed_goes_out_stale(
    store: PostgresStore, by: str
) -> None:
    now = database_now(store)
    schedule = a_schedule(store, every=600, clock_at=now - seconds(3_600))
    armed = floor_minute(now - seconds(3_660))
    key = a_slice(store, armed)
    stale = a_fire(store, schedule, key, armed)
    the_clock_ticked(store, ago=3_600, series=60)
    if by == "switch":
        turn(store, None, off=True)
        assert tick(store) == []
        turn(store, None, off=False)
    else:
        said = Switches(store).says(schedule.agent_id)
        assert said.startswith("stopped or stalled since ")
    platform = Platform()

    assert key in tick(store)
    work_alone(store, key, platform)

    assert (see_fire(store, stale).state, see_fire(store, stale).reason) == ("missed", "coalesced")
    assert platform.sent == []
    (gap,) = query(store, "select reason from gaps")
    assert gap.reason == "coalesced"
    assert one(store, "select count(*) from fires where state = 'planned' "
                      "and due_at < statement_timestamp()") <= 1  # fmt: skip


def test_a_trigger_while_off_is_kept_until_it_is_on_again(store: PostgresStore) -> None:
    schedule = a_schedule(store, stopped=True)
    turn(store, schedule.agent_id, off=True)
    fire = Triggers(store).trigger(schedule.agent_id, schedule.id)
    key = one(store, "select slice_key from fires where id = :id", id=fire)
    platform = Platform()
    work_alone(store, key, platform)
    assert platform.sent == []
    assert "stopped since" in Switches(store).says(schedule.agent_id)

    turn(store, schedule.agent_id, off=False)

    work_alone(store, key, platform, run="run-2")
    assert platform.sent == [fire]
    assert key.endswith("Z") or key.endswith(SliceKind.SYNC)


def test_a_switchs_rows_are_its_history_and_a_repeated_turn_changes_nothing(
    store: PostgresStore,
) -> None:
    switches, agent = Switches(store), an_agent(store)
    for off in (True, True, False, False, True):
        switches.turn(agent.id, off=off, actor={"user_id": "u"}, note=f"off={off}")

    state = switches.see(agent.id)

    assert state.off
    assert [(turn.note, turn.on_note) for turn in state.history] == [
        ("off=True", None),
        ("off=True", "off=False"),
    ]
    assert state.clock.text.endswith("switched off for this agent")
    assert not switches.see(None).off


def test_an_agent_that_does_not_exist_has_no_switch(store: PostgresStore) -> None:
    with pytest.raises(NotFound):
        turn(store, "nobody", off=True)
