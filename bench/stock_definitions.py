"""What one would write with stock Dagster: a sensor, one run per fire, an op with the two calls.

Loaded by the processes of `bench.stock`; nothing of ours is in it.
"""

import json
import os
import time

import dagster as dg
import httpx

AGENT_URL = os.environ["BENCH_AGENT_URL"]
INSTANTS: list[float] = json.loads(os.environ["BENCH_INSTANTS"])
FIRES = int(os.environ["BENCH_FIRES"])


@dg.op
def deliver(context: dg.OpExecutionContext) -> None:
    """Create the task, then send its input."""
    tags = context.run.tags
    task = {
        "id": tags["bench/fire"],
        "name": tags["bench/fire"],
        "params": None,
        "task_metadata": {"fire_time": tags["bench/fire_time"], "schedule_id": "stock"},
    }
    event = {"id": context.run_id, "content": {"type": "text", "content": "hello"}}
    with httpx.Client(headers={"x-idempotency-key": tags["bench/fire"]}, timeout=60) as client:
        _call(client, "task/create", {"task": task, "params": None})
        _call(client, "event/send", {"task": task, "event": event})


def _call(client: httpx.Client, method: str, params: dict[str, object]) -> None:
    envelope = {"jsonrpc": "2.0", "method": method, "id": method, "params": params}
    client.post(f"{AGENT_URL}/api", json=envelope).raise_for_status()


@dg.job(executor_def=dg.in_process_executor)
def one_fire() -> None:
    """One run per fire."""
    deliver()


@dg.sensor(job=one_fire, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def clock(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request a run for each fire that came due since the last look."""
    seen, now = float(context.cursor or 0), time.time()
    due = [instant for instant in INSTANTS if seen < instant <= now]
    if not due:
        return dg.SkipReason("Nothing is due.")
    requests = [_request(instant, number) for instant in due for number in range(FIRES)]
    return dg.SensorResult(run_requests=requests, cursor=str(now))


def _request(instant: float, number: int) -> dg.RunRequest:
    fire = f"stock-{number}-{instant:.0f}"
    when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(instant))
    return dg.RunRequest(run_key=fire, tags={"bench/fire": fire, "bench/fire_time": when})


definitions = dg.Definitions(jobs=[one_fire], sensors=[clock])
