"""The sensor: what an evaluation asks Dagster to start, and what it asks Dagster about."""

import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.remote_representation.external import RemoteSensor
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._daemon.sensor import is_under_min_interval

from schedules_pipeline.defs.job import JOB_NAME, build_job
from schedules_pipeline.defs.sensor import NAME, build_sensor, ended_runs, is_on
from schedules_pipeline.domain.fire import GapReason
from schedules_pipeline.domain.planning import Gap
from schedules_pipeline.domain.slices import Slice, SliceKind, floor_hour, standby_slices
from schedules_pipeline.settings import Settings
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.ledger import (
    a_schedule,
    an_agent,
    database_now,
    many_fires,
    one,
    past_slice,
    query,
    seconds,
    the_clock_ticked,
)


def evaluate(
    wiring: Wiring, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    sensor = build_sensor(wiring, build_job(wiring))
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        found = sensor(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def test_it_asks_for_a_run_per_slice_under_the_slices_key(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance
) -> None:
    key = past_slice(store)
    agent = an_agent(store)
    many_fires(store, agent, key, 2)
    found = evaluate(wiring, instance)
    assert isinstance(found, dg.SensorResult)
    (request,) = found.run_requests or []
    assert request.run_key == request.partition_key == key
    assert request.tags == {
        "schedules/agent": agent.name,
        "schedules/fire_count": "2",
        "schedules/slice_kind": "minute",
    }
    (added,) = found.dynamic_partitions_requests or []
    assert isinstance(added, dg.AddDynamicPartitionsRequest)
    assert (added.partitions_def_name, added.partition_keys) == ("nominal_fire_times", [key])


def test_a_second_try_has_the_same_partition_and_another_run_key(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance
) -> None:
    key = past_slice(store, emit_count=1)
    many_fires(store, an_agent(store), key, 1)
    many_fires(store, an_agent(store), key, 1)
    found = evaluate(wiring, instance)
    assert isinstance(found, dg.SensorResult)
    (request,) = found.run_requests or []
    assert (request.run_key, request.partition_key) == (f"{key}/retry-1", key)
    assert "schedules/agent" not in request.tags
    (added,) = found.dynamic_partitions_requests or []
    assert added.partition_keys == [key]


def test_it_plans_what_is_due(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance
) -> None:
    a_schedule(store, every=5)
    assert isinstance(evaluate(wiring, instance), dg.SensorResult)
    assert one(store, "select count(*) from fires") > 5


def test_with_nothing_due_it_skips_and_says_so(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance
) -> None:
    found = evaluate(wiring, instance)
    assert isinstance(found, dg.SkipReason)
    assert "Nothing is due" in str(found.skip_message)
    assert one(store, "select tick_no from clock_heartbeat") == 1


def test_by_default_it_keeps_a_standby_up_for_this_hour(
    store: PostgresStore, database_url: str, instance: dg.DagsterInstance
) -> None:
    wiring = Wiring(Settings(database_url=database_url), pool_size=2)
    wanted = {each.key for each in standby_slices(database_now(store), timedelta(seconds=30))}
    found = evaluate(wiring, instance)
    wiring.close()
    assert isinstance(found, dg.SensorResult)
    requests = {r.run_key: r.tags for r in found.run_requests or []}
    assert requests.keys() & wanted
    assert set(requests) <= wanted | {
        each.key for each in standby_slices(database_now(store), timedelta(seconds=30))
    }
    kinds = {tags["schedules/slice_kind"] for tags in requests.values()}
    assert kinds == {"now"}


def test_without_tables_it_skips_and_says_what_to_run(
    empty_database_url: str, instance: dg.DagsterInstance
) -> None:
    wiring = Wiring(Settings(database_url=empty_database_url), pool_size=1)
    found = evaluate(wiring, instance)
    wiring.close()
    assert isinstance(found, dg.SkipReason)
    assert "schedules migrate" in str(found.skip_message)


def test_it_is_on_by_default(wiring: Wiring) -> None:
    sensor = build_sensor(wiring, build_job(wiring))
    assert sensor.name == "agent_run_schedules"
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.job_name == JOB_NAME


@pytest.mark.parametrize("last_tick", [-0.5, 3_600, 86_400], ids="{:+} s".format)
def test_it_is_looked_at_as_often_as_dagster_looks_also_after_the_host_was_set_back(
    wiring: Wiring, last_tick: float
) -> None:
    sensor = build_sensor(wiring, build_job(wiring))
    interval = sensor.minimum_interval_seconds
    remote = cast(RemoteSensor, SimpleNamespace(min_interval_seconds=interval))
    ticked = SensorInstigatorData(last_tick_timestamp=time.time() + last_tick)
    state = cast(InstigatorState, SimpleNamespace(instigator_data=ticked))

    assert not is_under_min_interval(state, remote)


@pytest.mark.parametrize(
    ("status", "on"),
    [
        (InstigatorStatus.DECLARED_IN_CODE, True),
        (InstigatorStatus.RUNNING, True),
        (InstigatorStatus.STOPPED, False),
    ],
)
def test_in_mid_wait_the_toggle_of_the_ui_counts(
    tmp_path: Path, status: InstigatorStatus, on: bool
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert is_on(instance), "nobody has touched it"
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__")
        for name, each in ((NAME, status), ("another", InstigatorStatus.STOPPED)):
            origin = RemoteInstigatorOrigin(repository, name)
            state = InstigatorState(origin, InstigatorType.SENSOR, each, SensorInstigatorData())
            instance.add_instigator_state(state)
        assert is_on(instance) is on


# --- hours that the clock missed ------------------------------------------------------------------


def a_gap_of_two_hours(store: PostgresStore) -> list[str]:
    """Left behind eleven seconds ago; returns the hours' keys."""
    hour = floor_hour(database_now(store)) - timedelta(hours=3)
    gap = Gap(from_at=hour, to_at=hour + timedelta(hours=2), reason=GapReason.COALESCED)
    schedule = a_schedule(store, stopped=True)
    store.run(lambda tx: tx.fires.insert_gap(schedule.id, gap))
    query(store, "update gaps set created_at = created_at - interval '11 seconds'")
    return [Slice(SliceKind.MISSED, hour + timedelta(hours=n)).key for n in range(2)]


def test_missed_hours_become_partitions_once_and_nothing_is_run_for_them(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance
) -> None:
    hours = a_gap_of_two_hours(store)
    found = evaluate(wiring, instance)
    assert isinstance(found, dg.SensorResult)
    assert not found.run_requests
    (added,) = found.dynamic_partitions_requests or []
    assert added.partition_keys == hours
    assert found.cursor == str(one(store, "select max(id) from gaps"))
    # What Dagster did not store is said again; what it stored is not.
    assert isinstance(evaluate(wiring, instance), dg.SensorResult)
    assert isinstance(evaluate(wiring, instance, cursor=found.cursor), dg.SkipReason)


@pytest.mark.parametrize("cursor", ["", "yesterday", "-1", "²"])
def test_a_cursor_set_by_hand_may_be_anything(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance, cursor: str
) -> None:
    a_gap_of_two_hours(store)
    assert isinstance(evaluate(wiring, instance, cursor=cursor), dg.SensorResult)


# --- Dagster's word on which runs ended -----------------------------------------------------------


@pytest.fixture
def ended(instance: dg.DagsterInstance) -> dict[str, str]:
    """Runs of the job and of another, by status; what should be told of."""
    runs = {}
    for status in set(dg.DagsterRunStatus) - {dg.DagsterRunStatus.QUEUED}:
        run = dg.DagsterRun(
            job_name=JOB_NAME, status=status, tags={"dagster/partition": f"slice-{status.value}"}
        )
        instance.add_run(run)
        runs[status.value] = run.run_id
    instance.add_run(
        dg.DagsterRun(
            job_name="another",
            status=dg.DagsterRunStatus.FAILURE,
            tags={"dagster/partition": "elsewhere"},
        )
    )
    instance.add_run(dg.DagsterRun(job_name=JOB_NAME, status=dg.DagsterRunStatus.FAILURE))
    return runs


def test_it_is_told_of_the_runs_of_the_job_that_ended_and_of_no_others(
    store: PostgresStore, instance: dg.DagsterInstance, ended: dict[str, str]
) -> None:
    since = database_now(store) - seconds(60)
    found = {each.dagster_run_id: each.slice_key for each in ended_runs(instance)(since)}
    assert found == {
        ended[status]: f"slice-{status}" for status in ("SUCCESS", "FAILURE", "CANCELED")
    }
    assert list(ended_runs(instance)(since + timedelta(hours=1))) == []


def test_a_run_that_dagster_calls_ended_is_finished_and_its_slice_emitted_at_once(
    store: PostgresStore, wiring: Wiring, instance: dg.DagsterInstance
) -> None:
    later = database_now(store) + seconds(15)
    key = past_slice(store, emit_count=1, fruitless_count=1, emit_after=later)
    many_fires(store, an_agent(store), key, 1)
    the_clock_ticked(store, ago=5, series=60)
    run = dg.DagsterRun(
        job_name=JOB_NAME,
        status=dg.DagsterRunStatus.FAILURE,
        tags={"dagster/partition": key},
    )
    assert isinstance(evaluate(wiring, instance), dg.SkipReason)
    instance.add_run(run)
    found = evaluate(wiring, instance)
    assert isinstance(found, dg.SensorResult)
    assert [request.run_key for request in found.run_requests or []] == [f"{key}/retry-1"]
    rows = query(store, "select dagster_run_id from dispatches where finished_at is not null")
    assert [row.dagster_run_id for row in rows] == [run.run_id]
