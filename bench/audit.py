"""How many fires a second can be told to Dagster, by each way there is; and a whole burst's audit.

python -m bench audit [--events 400] [--rounds 5] [--fires 10000]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata
from dagster_postgres.event_log import PostgresEventLogStorage
from sqlalchemy import text

from bench.report import Table, publish_all
from bench.scene import tables, url_of, workplace
from schedules_pipeline.defs.event_log import AssetEvent, log_events
from schedules_pipeline.defs.job import build_job
from schedules_pipeline.defs.partitions import PARTITION_SET
from schedules_pipeline.dev.databases import ensure_database, with_database
from schedules_pipeline.dev.home import Home
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.services.auditing import RECORDS_PER_BATCH
from schedules_pipeline.settings import Settings, with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.ledger import a_dispatch, an_agent, many_fires, one, past_slice

BUDGET_SECONDS = 60
STOCK_BATCH = 100

Write = Callable[[dg.OpExecutionContext, Sequence[AssetEvent]], None]
_rounds = count()


def main() -> int:
    """The ways in turn, then the audit of a burst; 1 when that misses its budget."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fires", type=int, default=10_000)
    parser.add_argument("--json")
    options = parser.parse_args()
    with tables() as store, _dagster(store):
        found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
        for _ in range(options.rounds):  # in turn: what else is done meets all alike
            for name, (write, pooled) in WAYS.items():
                found[name].append(_measure(write, options.events, pooled=pooled))
        burst = _burst(store, options.fires)
    held = burst["seconds"] <= BUDGET_SECONDS and burst["assets right"] == 1
    publish_all(
        Table(
            "Asset events written by a run",
            [{"way": name, **_medians(rounds)} for name, rounds in found.items()],
            f"{options.events} events, one per asset, in one op, on a durable PostgreSQL; medians "
            f"of {options.rounds} rounds. CPU: of the run's process. assets right: whose latest "
            "materialization is their newest event.",
        ),
        Table(
            "The audit of a burst",
            [burst],
            "`record_audit_trail` alone, from the ledger to Dagster and back. Budget: ≤ "
            f"{BUDGET_SECONDS} s, every asset right: {'held' if held else 'MISSED'}.",
        ),
    )
    return 0 if held else 1


def _one_by_one(context: dg.OpExecutionContext, events: Sequence[AssetEvent]) -> None:
    for event in events:
        context.log_event(event)


def _batches_of(size: int) -> Write:
    """Dagster's own batches: events that name one, and `DAGSTER_EVENT_BATCH_SIZE`."""

    def write(context: dg.OpExecutionContext, events: Sequence[AssetEvent]) -> None:
        step = context.get_step_execution_context()
        for begin in range(0, len(events), size):
            batch = events[begin : begin + size]
            for number, event in enumerate(batch, 1):
                assert isinstance(event, dg.AssetMaterialization)
                place = DagsterEventBatchMetadata(f"{begin}", number == len(batch))
                DagsterEvent.asset_materialization(step, event, place)

    return write


def _ours(context: dg.OpExecutionContext, events: Sequence[AssetEvent]) -> None:
    for begin in range(0, len(events), RECORDS_PER_BATCH):
        log_events(context, events[begin : begin + RECORDS_PER_BATCH])


# name: (what writes, whether Dagster keeps its connections)
WAYS: Mapping[str, tuple[Write, bool]] = {
    "context.log_event": (_one_by_one, False),
    "context.log_event, pooled connections": (_one_by_one, True),
    "Dagster's batches, one asset each, pooled": (_batches_of(1), True),
    f"Dagster's batches of {STOCK_BATCH} assets, pooled": (_batches_of(STOCK_BATCH), True),
    f"ours: {RECORDS_PER_BATCH} in a transaction": (_ours, False),
}


def _measure(write: Write, events: int, *, pooled: bool) -> dict[str, float]:
    """One run whose op writes them, by a Dagster of its own."""
    taken: dict[str, float] = {}
    told = [_event(number, f"round-{next(_rounds)}") for number in range(events)]

    @dg.op
    def record_audit_trail(context: dg.OpExecutionContext) -> None:
        begun, used = time.perf_counter(), time.process_time()
        write(context, told)
        taken["events/s"] = events / (time.perf_counter() - begun)
        taken["CPU ms per event"] = (time.process_time() - used) * 1e3 / events

    @dg.job(executor_def=dg.in_process_executor)
    def agent_runs() -> None:
        record_audit_trail()

    with dg.DagsterInstance.get() as instance, _silence():
        if pooled:
            instance.optimize_for_webserver(
                statement_timeout=60_000, pool_recycle=3_600, max_overflow=3
            )
        run = agent_runs.execute_in_process(instance=instance).run_id
        return taken | {"assets right": _right(instance, run)}


def _event(number: int, partition: str) -> dg.AssetMaterialization:
    """About as much as a fire's event says."""
    said = {name: dg.MetadataValue.text(f"{name} of {number} " * 3) for name in "abcdefghij"}
    key = ["agent_runs", "reporter", f"schedule-{number:05}"]
    return dg.AssetMaterialization(key, partition=partition, metadata=said, description="delivered")


def _right(instance: dg.DagsterInstance, run_id: str) -> float:
    """The share of the run's assets whose latest materialization is its newest event of them."""
    storage = instance.event_log_storage
    assert isinstance(storage, PostgresEventLogStorage)
    query = "select asset_key, max(id) from event_logs where run_id = :run group by 1"
    with storage.index_connection() as connection:
        rows = connection.execute(text(query), {"run": run_id})
        newest: dict[str, int] = {key: number for key, number in rows if key}
    latest = {
        each.asset_entry.asset_key.to_string(): each.asset_entry.last_materialization_record
        for each in instance.get_asset_records()
    }
    ids = {key: record and record.storage_id for key, record in latest.items()}
    return sum(ids.get(key) == number for key, number in newest.items()) / len(newest)


def _burst(store: PostgresStore, fires: int) -> dict[str, Any]:
    """A slice whose fires are all delivered: what the run's second op has left to do."""
    with dg.DagsterInstance.get() as instance:
        key = past_slice(store)
        dead = a_dispatch(store, key, finished=True)
        many_fires(store, an_agent(store), key, fires, state=FireState.DELIVERED, run=dead)
        wiring = Wiring(Settings(database_url=url_of(store)), pool_size=3)
        instance.add_dynamic_partitions(PARTITION_SET, [key])
        with _silence():
            result = build_job(wiring).execute_in_process(partition_key=key, instance=instance)
        wiring.close()
        (step,) = instance.get_run_step_stats(result.run_id, ["record_audit_trail"])
        assert step.end_time
        assert step.start_time
        seconds = step.end_time - step.start_time
        return {
            "fires": fires,
            "recorded": one(store, "select count(*) from fires where recorded_at is not null"),
            "seconds": round(seconds, 1),
            "events/s": round(fires / seconds),
            "assets right": _right(instance, result.run_id),
        }


@contextmanager
def _dagster(store: PostgresStore) -> Iterator[None]:
    """DAGSTER_HOME as `make dev` writes it, with its tables beside ours."""
    url = with_database(url_of(store), "dagster")
    ensure_database(url)
    with workplace() as folder:
        home = Home.make(folder)
        home.write_dagster_files()
        os.environ["DAGSTER_HOME"] = str(home.dagster)
        os.environ["SCHEDULES_DAGSTER_URL"] = with_driver(url, "psycopg2")
        # Dagster's own batches; events that name no batch, as those of `log_event`, ignore it.
        os.environ["DAGSTER_EVENT_BATCH_SIZE"] = str(STOCK_BATCH)
        yield


@contextmanager
def _silence() -> Iterator[None]:
    """Lines on the console are part of the work, and not of what is printed."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(each[name] for each in rounds), 2) for name in rounds[0]}
