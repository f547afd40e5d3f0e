"""The clock, as Dagster sees it: a sensor whose every evaluation is a tick, or several."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg

from schedules_pipeline.defs.job import JOB_NAME
from schedules_pipeline.defs.partitions import nominal_fire_times
from schedules_pipeline.defs.pruning import Pruner
from schedules_pipeline.defs.reaper import reap
from schedules_pipeline.domain.emission import Emission
from schedules_pipeline.errors import AnotherTick, SchemaMissing
from schedules_pipeline.services.stored import EndedRun
from schedules_pipeline.services.ticking import EndedRuns
from schedules_pipeline.wiring import Wiring

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
ENDED_PER_TICK = 200
# From one evaluation's beginning to the next one's, by the host's time of day. Dagster looks every
# 5 s whatever stands here, and at once after an evaluation that waited longer. That it is negative,
# ten years, is for a host clock that is set back: with a positive one Dagster would wait until the
# old time of day has come again (docs/decisions/0009).
MINIMUM_INTERVAL_SECONDS = -10 * 365 * 86_400
NAME = "agent_run_schedules"
NOTHING_DUE = "Nothing is due that no run works already."


def build_sensor(wiring: Wiring, job: dg.JobDefinition) -> dg.SensorDefinition:
    """`agent_run_schedules`: its toggle in the Dagster UI is the big pause switch."""
    pruner = Pruner(wiring.clock.unsettled_keys)

    @dg.sensor(
        name=NAME,
        job=job,
        minimum_interval_seconds=MINIMUM_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="The clock. Off: nothing new is planned or started.",
    )
    def agent_run_schedules(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            reap(context.instance, wiring.clock.silent_since(), wiring.clock.silent)
            pruner.prune(context.instance)
            announced = gap_of(context.cursor)
            hours, newest_gap = wiring.clock.missed_hours(announced)
            # Last: what a tick has emitted must reach Dagster, so nothing may fail behind it.
            emissions = wiring.waiting_clock.tick(
                ended_runs(context.instance), lambda: is_on(context.instance)
            )
        except (SchemaMissing, AnotherTick) as reason:
            return dg.SkipReason(str(reason))
        # Dagster keeps the cursor together with the keys: what it did not store is said again.
        return _requests(emissions, hours, None if newest_gap == announced else str(newest_gap))

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


def is_on(instance: dg.DagsterInstance) -> bool:
    """Whether the toggle in the Dagster UI is on. Nobody ever touched it: it is."""
    states = [s for s in instance.all_instigator_state() if s.instigator_name == NAME]
    return not states or any(state.is_running for state in states)


def gap_of(cursor: str | None) -> int:
    """The newest gap whose hours are partitions already. A cursor set by hand may be anything."""
    return int(cursor) if cursor and cursor.isascii() and cursor.isdigit() else 0


def _requests(
    emissions: Sequence[Emission], missed_hours: Sequence[str], cursor: str | None
) -> dg.SensorResult | dg.SkipReason:
    # All of them, every time: one unknown key fails the whole evaluation.
    keys = [*(emission.slice_key for emission in emissions), *missed_hours]
    if not keys and cursor is None:
        return dg.SkipReason(NOTHING_DUE)
    return dg.SensorResult(
        run_requests=[_request(emission) for emission in emissions] or None,
        skip_reason=None if emissions else NOTHING_DUE,
        dynamic_partitions_requests=[nominal_fire_times.build_add_request(keys)] if keys else None,
        cursor=cursor,
    )


def _request(emission: Emission) -> dg.RunRequest:
    tags = {
        "schedules/fire_count": str(emission.fire_count),
        "schedules/slice_kind": emission.kind,
    }
    if emission.agent is not None:
        tags["schedules/agent"] = emission.agent
    return dg.RunRequest(run_key=emission.run_key, partition_key=emission.slice_key, tags=tags)
