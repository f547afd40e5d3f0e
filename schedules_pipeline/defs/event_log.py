"""Writing many asset events at once: what `context.log_event` does for each, at a tenth the cost.

What is written is the same: the run's event log, the assets' pages, partitions. What it leaves
out are the lines that `log_event` also writes to the run's console.
"""

import logging
import os
import time
from collections.abc import Sequence

import dagster as dg
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster_postgres.event_log import PostgresEventLogStorage

from schedules_pipeline.store.dagster_events import store_asset_events

AssetEvent = dg.AssetMaterialization | dg.AssetObservation


def log_events(context: dg.OpExecutionContext, events: Sequence[AssetEvent]) -> None:
    """On PostgreSQL in one transaction, all or none; on another storage one by one."""
    storage = context.instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        for event in events:
            context.log_event(event)
        return
    store_asset_events(storage, [_entry(context, event) for event in events])


def _entry(context: dg.OpExecutionContext, event: AssetEvent) -> dg.EventLogEntry:
    told = _dagster_event(context, event)
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=logging.DEBUG,
        user_message=told.message or f"{told.event_type} for step {told.step_key}",
        run_id=context.run_id,
        timestamp=time.time(),
        step_key=told.step_key,
        job_name=context.job_name,
        dagster_event=told,
    )


def _dagster_event(context: dg.OpExecutionContext, event: AssetEvent) -> DagsterEvent:
    """What Dagster makes of an event in this step, without its line on the console."""
    step = context.get_step_execution_context()
    kind, data, message = _content(event)
    return DagsterEvent(
        event_type_value=kind.value,
        job_name=step.job_name,
        step_handle=step.step.handle,
        node_handle=step.step.node_handle,
        step_kind_value=step.step.kind.value,
        logging_tags=step.event_tags,
        event_specific_data=data,
        message=message,
        pid=os.getpid(),
    )


def _content(
    event: AssetEvent,
) -> tuple[dg.DagsterEventType, StepMaterializationData | AssetObservationData, str | None]:
    if isinstance(event, dg.AssetMaterialization):
        told = event.description or "Materialized value."
        return dg.DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(event), told
    return dg.DagsterEventType.ASSET_OBSERVATION, AssetObservationData(event), None
