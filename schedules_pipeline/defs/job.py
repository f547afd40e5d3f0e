"""The job that works one slice: deliver its fires, then record how each ended."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import dagster as dg

from schedules_pipeline.defs.audit_events import audit_event
from schedules_pipeline.defs.event_log import AssetEvent, log_events
from schedules_pipeline.defs.partitions import nominal_fire_times
from schedules_pipeline.services.dispatching import Dispatcher
from schedules_pipeline.services.stored import AuditRecord
from schedules_pipeline.wiring import Wiring

JOB_NAME = "agent_runs"
EventOf = Callable[[AuditRecord, str], AssetEvent]
CANCELLED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def build_job(wiring: Wiring) -> dg.JobDefinition:
    """`agent_runs`, bound to a database by `wiring`."""

    event_of = partial(audit_event, asset_per_schedule=wiring.settings.asset_per_schedule)

    @dg.resource
    def dispatcher(init: dg.InitResourceContext) -> Iterator[Dispatcher]:
        """One per run: begun before the first op, finished after the last."""
        run = init.run
        assert run is not None
        asked_by_person = by_person(run.tags)
        with wiring.dispatcher(run.run_id, _slice_key(run), by_person=asked_by_person) as found:
            try:
                yield found
            finally:
                if _is_cancelled(init.instance, run.run_id):
                    found.abandon()

    @dg.op(required_resource_keys={"dispatcher"}, out=dg.Out(dg.Nothing))
    def create_tasks_and_deliver_inputs(context: dg.OpExecutionContext) -> None:
        """Deliver what the slice owes until its time is over."""
        context.resources.dispatcher.dispatch(partial(_record, context, event_of))

    @dg.op(required_resource_keys={"dispatcher"}, ins={"delivered": dg.In(dg.Nothing)})
    def record_audit_trail(context: dg.OpExecutionContext) -> None:
        """One asset event per fire that ended; red when a fire failed."""
        context.resources.dispatcher.dispatch(partial(_record, context, event_of))
        _record(context, event_of)
        trail = context.resources.dispatcher.audit_trail()
        trail.settle()
        trail.raise_for_failures()

    @dg.job(
        name=JOB_NAME,
        partitions_def=nominal_fire_times,
        executor_def=dg.in_process_executor,
        resource_defs={"dispatcher": dispatcher},
        description="Works one slice: the fires due in one minute. Its partition is the slice.",
    )
    def agent_runs() -> None:
        record_audit_trail(create_tasks_and_deliver_inputs())

    return agent_runs


def _record(context: dg.OpExecutionContext, event_of: EventOf) -> None:
    """An event for every end that has none yet."""
    for batch in context.resources.dispatcher.audit_trail().batches():
        log_events(context, [event_of(record, context.partition_key) for record in batch])


def by_person(tags: Mapping[str, str]) -> bool:
    """Whether a person asked for this run: then it takes up what ended undelivered.

    Re-executions inherit the sensor's tags, so their presence proves nothing; Dagster's own
    retries are nobody's act.
    """
    if "dagster/backfill" in tags:
        return True
    if "dagster/parent_run_id" in tags:
        return "dagster/retry_number" not in tags
    return "dagster/sensor_name" not in tags


def _is_cancelled(instance: dg.DagsterInstance | None, run_id: str) -> bool:
    run = None if instance is None else instance.get_run_by_id(run_id)
    return run is not None and run.status in CANCELLED


def _slice_key(run: dg.DagsterRun) -> str:
    key = run.tags.get("dagster/partition")
    if key is None:
        raise dg.Failure(
            "This job works one slice of fires: launch it with a partition (a slice key such as "
            "2026-06-24T09:00:00Z), from the Partitions tab."
        )
    return key
