"""The reaper: Dagster runs that are dead but still shown as STARTED are reported as failed.

A run's end is noticed by the process that started it. When that one died first, or the database
was away at that moment, the run would stay STARTED for ever and the page would not tell the truth.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import dagster as dg

from schedules_pipeline.defs.job import JOB_NAME

REAPED_PER_TICK = 20

Silent = Callable[[Sequence[str], datetime], set[str]]
"""Of these Dagster runs: those that show no sign of life since an instant."""


def reap(instance: dg.DagsterInstance, silent_since: datetime | None, silent: Silent) -> None:
    """Report STARTED runs of the job that have had no heartbeat since `silent_since` (None: not
    now)."""
    if silent_since is None:
        return
    started = instance.get_run_records(
        dg.RunsFilter(
            job_name=JOB_NAME,
            statuses=[dg.DagsterRunStatus.STARTED],
            updated_before=silent_since,
        ),
        limit=REAPED_PER_TICK,
        ascending=True,
    )
    runs = {record.dagster_run.run_id: record.dagster_run for record in started}
    for run_id in silent(list(runs), silent_since) if runs else ():
        instance.report_run_failed(
            runs[run_id],
            "The run's process shows no sign of life; what it owed goes on in another run.",
        )
