"""The clock, as Dagster sees it: a sensor whose every evaluation is one tick."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg

from schedules_pipeline.defs.job import JOB_NAME
from schedules_pipeline.defs.partitions import nominal_fire_times
from schedules_pipeline.defs.reaper import reap
from schedules_pipeline.domain.emission import Emission
from schedules_pipeline.errors import AnotherTick, SchemaMissing
from schedules_pipeline.services.store_port import EndedRun
from schedules_pipeline.services.ticking import EndedRuns
from schedules_pipeline.wiring import Wiring

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
ENDED_PER_TICK = 200
# Dagster looks every 5 s, and evaluates when this much has passed since the last time by the host's
# time of day. Set back by an hour, with any interval that is not negative, it would wait an hour.
SET_BACK_SECONDS = 7 * 86_400


def build_sensor(wiring: Wiring, job: dg.JobDefinition) -> dg.SensorDefinition:
    """`agent_run_schedules`: its toggle in the Dagster UI is the big pause switch."""

    @dg.sensor(
        name="agent_run_schedules",
        job=job,
        minimum_interval_seconds=-SET_BACK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="The clock. Off: nothing new is planned or started.",
    )
    def agent_run_schedules(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            # First: what a tick has emitted must reach Dagster, whatever comes after it.
            reap(context.instance, wiring.clock.silent_since(), wiring.clock.silent)
            emissions = wiring.clock.tick(ended_runs(context.instance))
        except (SchemaMissing, AnotherTick) as reason:
            return dg.SkipReason(str(reason))
        return _requests(emissions)

    return agent_run_schedules


def ended_runs(instance: dg.DagsterInstance) -> EndedRuns:
    """Ask Dagster which runs of the job ended since an instant."""

    def ask(since: datetime) -> Iterator[EndedRun]:
        records = instance.get_run_records(
            dg.RunsFilter(job_name=JOB_NAME, statuses=ENDED, updated_after=since),
            limit=ENDED_PER_TICK,
        )
        for record in records:
            key = record.dagster_run.tags.get("dagster/partition")
            if key is not None:
                yield EndedRun(
                    dagster_run_id=record.dagster_run.run_id,
                    slice_key=key,
                    cancelled=record.dagster_run.status is dg.DagsterRunStatus.CANCELED,
                )

    return ask


def _requests(emissions: Sequence[Emission]) -> dg.SensorResult | dg.SkipReason:
    if not emissions:
        return dg.SkipReason("Nothing is due that no run works already.")
    return dg.SensorResult(
        run_requests=[_request(emission) for emission in emissions],
        # All of them, every time: one unknown key fails the whole evaluation.
        dynamic_partitions_requests=[
            nominal_fire_times.build_add_request([e.slice_key for e in emissions])
        ],
    )


def _request(emission: Emission) -> dg.RunRequest:
    tags = {
        "schedules/fire_count": str(emission.fire_count),
        "schedules/slice_kind": emission.kind,
    }
    if emission.agent is not None:
        tags["schedules/agent"] = emission.agent
    return dg.RunRequest(run_key=emission.run_key, partition_key=emission.slice_key, tags=tags)
