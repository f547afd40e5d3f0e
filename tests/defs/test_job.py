"""The job, executed by Dagster in this process, on a real ledger and against a real agent."""

import time
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest

from schedules_pipeline.defs.job import build_job
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.slices import SliceKind, floor_hour
from schedules_pipeline.services import dispatching
from schedules_pipeline.services.switching import Switches
from schedules_pipeline.settings import Settings
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.agents import RunningAgent
from tests.ledger import (
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    many_fires,
    one,
    past_slice,
    query,
    seconds,
    see_fire,
    states,
)


def execute(wiring: Wiring, instance: dg.DagsterInstance, key: str) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("nominal_fire_times", [key])
    return build_job(wiring).execute_in_process(
        partition_key=key, instance=instance, raise_on_error=False
    )


def told(result: dg.ExecuteInProcessResult, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    return [event for event in result.all_events if event.event_type is kind]


MATERIALIZATION = dg.DagsterEventType.ASSET_MATERIALIZATION
OBSERVATION = dg.DagsterEventType.ASSET_OBSERVATION


def test_a_run_delivers_its_slice_and_tells_every_end_once(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    fires = many_fires(store, an_agent(store, recorder.url), key, 3)
    paused = a_schedule(store, stopped=True, paused=True)
    skipped = a_fire(store, paused, key, database_now(store))

    result = execute(wiring, instance, key)

    assert result.success
    got = [r["idempotency_key"] for r in recorder.received("event/send")]
    assert sorted(set(fires) & set(got)) == sorted(fires)
    assert len(told(result, OBSERVATION)) == 1
    materialized = [
        event.step_materialization_data.materialization for event in told(result, MATERIALIZATION)
    ]
    assert {each.partition for each in materialized} == {key}
    assert sorted(str(each.metadata["fire_id"].value) for each in materialized) == sorted(fires)
    assert see_fire(store, skipped).recorded
    assert states(store) == {"delivered": 3, "skipped": 1}
    assert one(store, "select settled_at is not null from slices")
    assert one(store, "select finished_at is not null from dispatches")

    again = execute(wiring, instance, key)
    assert again.success
    assert told(again, MATERIALIZATION) + told(again, OBSERVATION) == []
    assert len(recorder.received("event/send")) == len(got)


def test_a_run_with_failed_fires_is_red_in_its_second_op_and_names_them(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    (failed,) = many_fires(store, an_agent(store), key, 1)
    (delivered,) = many_fires(store, an_agent(store, recorder.url), key, 1)

    result = execute(wiring, instance, key)

    assert not result.success
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert failure.step_key == "record_audit_trail"
    assert failed in str(failure.step_failure_data.error)
    assert see_fire(store, failed).recorded
    assert see_fire(store, delivered).state == "delivered"
    assert one(store, "select settled_at is not null from slices")


def test_each_run_is_a_dispatch_and_a_dead_ones_fires_are_taken_over(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    dead = a_dispatch(store, key, finished=True)
    agent = an_agent(store, recorder.url)
    (fire,) = many_fires(store, agent, key, 1, state=FireState.TASK_CREATED, run=dead)
    result = execute(wiring, instance, key)
    assert result.success
    seen = see_fire(store, fire)
    assert (seen.state, seen.claimed_by) == ("delivered", result.dagster_run.run_id)
    assert seen.possible_duplicate


def test_a_run_without_a_slice_of_ours_says_so(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance
) -> None:
    result = execute(wiring, instance, "2020-01-01T00:00:00Z")
    assert not result.success
    assert "no fires are planned in slice '2020-01-01T00:00:00Z'" in str(
        [event.event_specific_data for event in result.all_events]
    )
    assert query(store, "select 1 from dispatches") == []


def test_a_run_waits_for_what_is_due_later_in_its_minute(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    due = database_now(store) + seconds(1.5)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True)
    fire = a_fire(store, schedule, key, due)
    assert execute(wiring, instance, key).success
    (got,) = [r for r in recorder.received("event/send") if r["idempotency_key"] == fire]
    assert due.timestamp() <= got["at"] < due.timestamp() + 0.5


def test_a_standby_tells_each_end_while_it_stands_and_is_red_at_last_for_what_failed(
    store: PostgresStore,
    wiring: Wiring,
    instance: dg.DagsterInstance,
    recorder: RunningAgent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatching, "RECORD_SECONDS", 0.05)
    key = a_slice(store, floor_hour(database_now(store)), SliceKind.NOW)
    (failed,) = many_fires(store, an_agent(store), key, 1)
    (delivered,) = many_fires(store, an_agent(store, recorder.url), key, 1)
    told_by_then: list[int] = []

    def turn_off_when_both_are_recorded() -> None:
        deadline = time.monotonic() + 20
        while not all(see_fire(store, each).recorded for each in (failed, delivered)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        kinds = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION
        (run,) = instance.get_runs()
        told_by_then.append(len(instance.all_logs(run.run_id, of_type=set(kinds))))
        Switches(store).turn(None, off=True, actor={}, note=None)

    with ThreadPoolExecutor(1) as thread:
        turned = thread.submit(turn_off_when_both_are_recorded)
        result = execute(wiring, instance, key)
        turned.result()
    assert told_by_then == [2]
    assert len(told(result, MATERIALIZATION)) == len(told(result, OBSERVATION)) == 1
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert failure.step_key == "record_audit_trail"
    assert failed in str(failure.step_failure_data.error)
    assert delivered not in str(failure.step_failure_data.error)
    assert one(store, "select settled_at is null from slices"), "its hour is not over"


def test_one_asset_per_agent_when_the_house_says_so(
    store: PostgresStore, instance: dg.DagsterInstance, database_url: str
) -> None:
    key = past_slice(store)
    agent = an_agent(store)
    many_fires(store, agent, key, 3, state=FireState.SKIPPED)
    wiring = Wiring(Settings(database_url=database_url, asset_per_schedule=False), pool_size=3)
    result = execute(wiring, instance, key)
    wiring.close()
    assert [event.asset_key for event in told(result, OBSERVATION)] == [
        dg.AssetKey(["agent_runs", agent.name])
    ] * 3
