"""How long until a Dagster run's first op runs, and what does it cost: forked, and started cold?

python -m bench launch [--runs 8] [--at-once 10]
"""

import argparse
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.report import lateness, publish
from bench.scene import scene
from bench.usage import PROC, TICKS, usage_below
from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.parts import CODE_SERVER, RUN_PARENT
from schedules_pipeline.launcher.identity import identify
from tests.stack import Stack

BUDGET_SECONDS = 0.5
BUDGET_CPU = 0.3
QUIET_SECONDS = 15.0
GIVE_UP_SECONDS = 180.0
LOOK_SECONDS = 2.0
SOON = timedelta(seconds=3)

REEXECUTE = """
    mutation ($run: String!) {
      launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) {
        ... on LaunchRunSuccess { run { runId } } } }
"""
EVENTS = """
    query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection {
      events { __typename ... on MessageEvent { timestamp } } } } }
"""
ENDS = ("RunSuccessEvent", "RunFailureEvent", "RunCanceledEvent")


def main() -> int:
    """Both ways on the same machine, one after the other; 1 when forked runs miss their budget."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=8, help="one after another")
    parser.add_argument("--at-once", type=int, default=10, help="and then so many together")
    parser.add_argument("--json")
    options = parser.parse_args()
    warm, cold = (_measure(way, options.runs, options.at_once) for way in (RUN_PARENT, CODE_SERVER))
    good = warm[0]["p50_ms"] <= 1000 * BUDGET_SECONDS and warm[0]["CPU s per run"] <= BUDGET_CPU
    publish(
        "From a launch to the first op of its Dagster run",
        [*warm, *cold],
        "The job agent_runs on a slice that is over: two ops, no fire. By the instants of "
        "Dagster's own events: RUN_STARTING, the first STEP_START, the end. CPU: of the process "
        "that starts runs and of all that it started, less what it uses when it starts none. PSS: "
        "of one run that waits for its fires, and of the whole house at rest. Budget, forked and "
        f"one after another: p50 ≤ {1000 * BUDGET_SECONDS:g} ms, ≤ {BUDGET_CPU:g} CPU s per run: "
        f"{'held' if good else 'MISSED'}.",
    )
    return 0 if good else 1


def _measure(starter: str, runs: int, at_once: int) -> list[dict[str, Any]]:
    with scene(warm_runs=str(starter == RUN_PARENT).lower()) as (stack, agent):
        agent_id = stack.register("launched", agent.url)
        soon = datetime.fromtimestamp(stack.database_time(), UTC) + SOON
        stack.create(agent_id, name="once", fire_at=soon.isoformat())
        model = stack.wait_for(lambda: _settled_run(stack), GIVE_UP_SECONDS)
        house = usage_below(stack.process.pid)
        pid = Home(stack.home).read_records()[starter].pid
        quiet = _cpu_while(pid, lambda: time.sleep(QUIET_SECONDS)) / QUIET_SECONDS
        one_by_one = _round(stack, pid, quiet, model, [1] * runs)
        together = _round(stack, pid, quiet, model, [at_once])
        stack.create(agent_id, name="waiting", interval_seconds=5)
        waiting = usage_below(stack.wait_for(lambda: _live_run(stack), GIVE_UP_SECONDS))
    way = "forked" if starter == RUN_PARENT else "cold"
    memory = {"PSS MiB of a run": round(waiting.pss), "PSS MiB of the house": round(house.pss)}
    return [
        {"case": f"{way}, one after another", **one_by_one, **memory},
        {"case": f"{way}, {at_once} at once", **together, **memory},
    ]


def _round(
    stack: Stack, pid: int, quiet: float, model: str, batches: list[int]
) -> dict[str, float]:
    launched: list[str] = []

    def launch() -> None:
        for size in batches:
            batch = [_launch(stack, model) for _ in range(size)]
            _wait_for_ends(stack, batch)
            launched.extend(batch)
        time.sleep(1)  # the last one's process is waited for

    began = time.monotonic()
    cpu = _cpu_while(pid, launch) - quiet * (time.monotonic() - began)
    seen = [_events(stack, run) for run in launched]
    first = [each["ExecutionStepStartEvent"] - each["RunStartingEvent"] for each in seen]
    whole = [max(each.get(end, 0) for end in ENDS) - each["RunStartingEvent"] for each in seen]
    return {
        "runs": len(launched),
        **lateness(first),
        "whole run p50 ms": round(1000 * statistics.median(whole)),
        "CPU s per run": round(cpu / len(launched), 2),
    }


def _launch(stack: Stack, model: str) -> str:
    answer = stack.graphql(REEXECUTE, run=model)["launchRunReexecution"]
    run: str = answer["run"]["runId"]
    return run


def _wait_for_ends(stack: Stack, runs: list[str]) -> None:
    """Looks seldom: a look costs the webserver as much as a forked run needs to begin."""
    until = time.monotonic() + GIVE_UP_SECONDS
    time.sleep(LOOK_SECONDS)
    while not all(_end(stack, run) for run in runs):
        assert time.monotonic() < until, f"still at work: {runs}"
        time.sleep(LOOK_SECONDS)


def _end(stack: Stack, run: str) -> bool:
    return any(end in _events(stack, run) for end in ENDS)


def _events(stack: Stack, run: str) -> dict[str, float]:
    """The first of each kind, in seconds since the epoch."""
    found: dict[str, float] = {}
    for event in stack.graphql(EVENTS, run=run)["logsForRun"]["events"]:
        found.setdefault(event["__typename"], float(event.get("timestamp", 0)) / 1000)
    return found


def _settled_run(stack: Stack) -> str | None:
    rows = stack.sql(
        "select dagster_run_id from dispatches join slices using (slice_key) "
        "where settled_at is not null and finished_at is not null"
    )
    return next((run for (run,) in rows if _end(stack, run)), None)


def _live_run(stack: Stack) -> int | None:
    """The pid of a run in the midst of its minute."""
    rows = stack.sql(
        "select pid from dispatches join slices using (slice_key) where finished_at is null "
        "and statement_timestamp() > starts_at + interval '10 seconds'"
    )
    return next((pid for (pid,) in rows if identify(pid)), None)


def _cpu_while(pid: int, work: Any) -> float:
    """Seconds that this process, and those of its children that are gone, used meanwhile."""
    before = _cpu(pid)
    work()
    return _cpu(pid) - before


def _cpu(pid: int) -> float:
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


if __name__ == "__main__":
    raise SystemExit(main())
