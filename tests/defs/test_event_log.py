"""Many asset events at once: Dagster, on a real PostgreSQL, cannot tell them from its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._serdes import serialize_value
from dagster_graphql.schema import create_schema
from dagster_postgres.event_log import PostgresEventLogStorage
from sqlalchemy import text

from schedules_pipeline.defs.event_log import AssetEvent, log_events
from schedules_pipeline.defs.job import build_job
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.ledger import a_dispatch, an_agent, end_dispatch, many_fires, one, past_slice

KINDS = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION}
# Differ from one writing to the next, whoever writes.
OF_THE_WRITING = ("run_id", "timestamp", "pid")

TELL_AND_DIE = """
import os, signal, sys
import dagster as dg
from schedules_pipeline.defs.job import build_job
from schedules_pipeline.services.auditing import AuditTrail
from schedules_pipeline.settings import Settings
from schedules_pipeline.store import dagster_events
from schedules_pipeline.wiring import Wiring

url, key, where = sys.argv[1:]
place, name = {"stored": (AuditTrail, "_mark"), "assets": (dagster_events, "_upsert_assets")}[where]
proceed, calls = getattr(place, name), []


def second_time_dies(*arguments):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return proceed(*arguments)


setattr(place, name, second_time_dies)
with dg.DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("nominal_fire_times", [key])
    job = build_job(Wiring(Settings(database_url=url), pool_size=3))
    job.execute_in_process(partition_key=key, instance=instance)
"""


def told(name: str, partition: str = "2026-06-24T09:00:00Z", n: int = 0) -> AssetEvent:
    return dg.AssetMaterialization(
        ["agent_runs", "reporter", name],
        partition=partition,
        description="delivered",
        metadata={"n": n, "reply_excerpt": dg.MetadataValue.text("Grüße <b>\x00")},
    )


def seen(name: str, partition: str = "2026-06-24T09:00:00Z", n: int = 0) -> AssetEvent:
    return dg.AssetObservation(
        ["agent_runs", "reporter", name],
        partition=partition,
        description="failed: timeout",
        metadata={"n": n},
    )


def one_by_one(context: dg.OpExecutionContext, events: Sequence[AssetEvent]) -> None:
    for event in events:
        context.log_event(event)


def tell(
    instance: dg.DagsterInstance,
    events: Sequence[AssetEvent],
    write: Callable[[dg.OpExecutionContext, Sequence[AssetEvent]], None] = log_events,
) -> str:
    """A run whose op writes these events; returns its id."""

    @dg.op
    def record_audit_trail(context: dg.OpExecutionContext) -> None:
        write(context, events)

    @dg.job(executor_def=dg.in_process_executor)
    def agent_runs() -> None:
        record_audit_trail()

    return agent_runs.execute_in_process(instance=instance).run_id


def bare(value: Any) -> Any:
    """As Dagster stores it, without what differs from one writing to the next."""

    def strip(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: strip(each) for name, each in found.items() if name not in OF_THE_WRITING}
        return [strip(each) for each in found] if isinstance(found, list) else found

    return value and strip(json.loads(serialize_value(value)))


def shown(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What Dagster answers of a run's asset events, by every way its pages ask."""
    log = instance.get_records_for_run(run_id).records
    keys = sorted(instance.get_asset_keys())
    return {
        "steps and order": [(r.event_log_entry.step_key, r.event_log_entry.dagster_event_type)
                            for r in log],
        "log": [bare(r.event_log_entry) for r in log
                if r.event_log_entry.dagster_event_type in KINDS],
        "keys": keys,
        "latest": {k: bare(instance.get_latest_materialization_event(k)) for k in keys},
        "latest stored as": {k: latest_id(instance, k) for k in keys},
        "last run": {
            r.asset_entry.asset_key: r.asset_entry.last_run_id == run_id
            for r in instance.get_asset_records(keys)
        },
        "materialized": {k: instance.get_materialized_partitions(k) for k in keys},
        "observations": {
            k: [bare(r.event_log_entry) for r in instance.fetch_observations(k, 100).records]
            for k in keys
        },
        "partitions of the run": instance.get_asset_partitions_for_run(run_id),
        "pages": {k: asset_page(instance, k) for k in keys},
    }  # fmt: skip


def latest_id(instance: dg.DagsterInstance, key: dg.AssetKey) -> int | None:
    """How far the latest materialization, as the asset remembers it, is from the newest event."""
    (record,) = instance.get_asset_records([key])
    latest = record.asset_entry.last_materialization_record
    newest = instance.fetch_materializations(key, 1).records
    return latest and latest.storage_id - newest[0].storage_id


def asset_page(instance: dg.DagsterInstance, key: dg.AssetKey) -> Any:
    """What the asset's page in the UI asks for."""
    query = """
        query ($path: [String!]!) {
          assetsOrError { ... on AssetConnection { nodes { key { path } } } }
          assetOrError(assetKey: {path: $path}) { ... on Asset {
            assetMaterializations { ...E }  assetObservations { ...O } } } }
        fragment E on MaterializationEvent { stepKey level message eventType partition description
          metadataEntries { label ... on IntMetadataEntry { intValue }
                                  ... on TextMetadataEntry { text } } }
        fragment O on ObservationEvent { stepKey level message eventType partition description
          metadataEntries { label ... on IntMetadataEntry { intValue } } }
    """
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as process:
        asking = create_schema().execute_async(
            query,
            variables={"path": key.path},
            context_value=process.create_request_context(),
        )
        answer = asyncio.run(asking)
    assert answer.errors is None, answer.errors
    return answer.data


def test_what_is_written_at_once_is_what_log_event_writes_one_by_one(
    house: dg.DagsterInstance,
) -> None:
    before, after = "2026-06-24T08:59:00Z", "2026-06-24T09:01:00Z"
    events = [
        told("alone"),
        told("twice", before, 1),
        seen("never-delivered"),
        told("twice", after, 2),
        told("then-failed", before, 3),
        seen("then-failed", after, 4),
        seen("first-failed", before, 5),
        told("first-failed", after, 6),
    ]
    by_dagster = shown(house, tell(house, events, one_by_one))
    house.wipe_assets(list(house.get_asset_keys()))

    ours = shown(house, tell(house, events))

    assert ours == by_dagster
    assert len(ours["keys"]) == 5
    assert len(ours["log"]) == len(events)
    assert set(ours["latest stored as"].values()) == {0, None}


def test_a_second_run_moves_the_latest_of_what_it_tells_and_leaves_the_rest(
    house: dg.DagsterInstance,
) -> None:
    def rows() -> dict[str, tuple[str, str]]:
        # Asked otherwise, Dagster searches the log for what an asset's row has lost.
        query = "select asset_key, last_materialization, last_run_id from asset_keys"
        return {json.loads(key)[-1]: (latest, run) for key, latest, run in sql(house, query)}

    tell(house, [told("a"), told("b"), told("c")])
    before = rows()
    run_id = tell(house, [told("c", n=2), seen("b", n=2), told("d", n=2)])
    after = rows()

    assert (after["a"], after["b"]) == (before["a"], before["b"])
    assert {name: run for name, (_, run) in after.items() if name in "cd"} == {
        "c": run_id,
        "d": run_id,
    }
    assert run_id in after["c"][0]
    assert run_id in after["d"][0]


def test_a_wiped_asset_is_back_with_its_next_event(house: dg.DagsterInstance) -> None:
    key = told("a").asset_key
    tell(house, [told("a")])
    house.wipe_assets([key])
    assert not house.has_asset_key(key)
    tell(house, [seen("a")])
    assert house.has_asset_key(key)
    assert house.get_latest_materialization_event(key) is None


def test_a_batch_that_fails_leaves_no_event(
    house: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("the assets could not be written")

    monkeypatch.setattr("schedules_pipeline.store.dagster_events._upsert_assets", breaks)
    with pytest.raises(RuntimeError):
        tell(house, [told("a"), told("b")])
    assert sql(house, "select 1 from event_logs where asset_key is not null") == []


def test_another_storage_is_written_to_by_dagster_itself(instance: dg.DagsterInstance) -> None:
    run_id = tell(instance, [told("a"), seen("b")])
    told_of = instance.get_asset_partitions_for_run(run_id)
    assert {key.path[-1] for key in told_of} == {"a", "b"}


@pytest.mark.parametrize(("dies", "doubled"), [("assets", 0), ("stored", 100)])
def test_what_a_killed_run_told_or_not_is_complete_after_the_next(
    store: PostgresStore,
    wiring: Wiring,
    house: dg.DagsterInstance,
    database_url: str,
    dies: str,
    doubled: int,
) -> None:
    key = past_slice(store)
    dead = a_dispatch(store, key, finished=True)
    agent = an_agent(store)
    fires = many_fires(store, agent, key, 250, state=FireState.DELIVERED, run=dead)

    child = subprocess.run(
        [sys.executable, "-c", TELL_AND_DIE, database_url, key, dies],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        timeout=90,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert one(store, "select count(*) from fires where recorded_at is not null") == 100
    end_dispatch(
        store, one(store, "select dagster_run_id from dispatches where finished_at is null")
    )

    result = build_job(wiring).execute_in_process(partition_key=key, instance=house)

    assert result.success
    assert one(store, "select count(*) from fires where recorded_at is null") == 0
    times = told_times(house)
    assert len(times) == len(fires)
    assert sum(number for number, _ in times.values()) == len(fires) + doubled
    assert {number for number, _ in times.values()} <= {1, 2}
    for record in house.get_asset_records():
        latest = record.asset_entry.last_materialization_record
        assert latest is not None
        assert latest.storage_id == times[record.asset_entry.asset_key.to_string()][1]
        assert latest.event_log_entry.asset_materialization is not None
        assert latest.event_log_entry.asset_materialization.partition == key


def told_times(instance: dg.DagsterInstance) -> dict[str, tuple[int, int]]:
    """By asset, which is one fire's here: how often Dagster was told of it, and the newest id."""
    query = "select asset_key, count(*), max(id) from event_logs where asset_key <> '' group by 1"
    return {key: (number, newest) for key, number, newest in sql(instance, query)}


def sql(instance: dg.DagsterInstance, query: str) -> list[Any]:
    """Dagster's own tables."""
    storage = instance.event_log_storage
    assert isinstance(storage, PostgresEventLogStorage)
    with storage.index_connection() as connection:
        return list(connection.execute(text(query)))
