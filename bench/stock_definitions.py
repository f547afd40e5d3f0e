"""What one would write with stock Dagster: a sensor, one run per fire, an op with the two calls.

Loaded by the processes of `bench.peers.on_stock`; nothing of ours is in it.
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import httpx

from bench.peers.work import Order

AGENT_URL = os.environ["BENCH_AGENT_URL"]
ORDER = Order(**json.loads(Path(os.environ["BENCH_ORDER"]).read_text()))


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
    seen, now = int(context.cursor or ORDER.first - 1), int(time.time())
    due = [
        (name, instant)
        for name, first in (ORDER.schedules() if ORDER.kind != "trigger" else ())
        for instant in _instants(first, seen, now)
    ]
    if not due:
        return dg.SkipReason("Nothing is due.")
    requests = [_request(name, instant) for name, instant in due]
    return dg.SensorResult(run_requests=requests, cursor=str(now))


def _instants(first: int, seen: int, now: int) -> list[int]:
    """Of one schedule, after the last look."""
    if ORDER.kind == "once":
        return [first] if seen < first <= now else []
    begin = max(first, first + -(-(seen + 1 - first) // ORDER.every) * ORDER.every)
    return list(range(begin, now + 1, ORDER.every))


def _request(name: str, instant: int) -> dg.RunRequest:
    fire, when = f"{name}@{instant}", datetime.fromtimestamp(instant, UTC).isoformat()
    return dg.RunRequest(run_key=fire, tags={"bench/fire": fire, "bench/fire_time": when})


definitions = dg.Definitions(jobs=[one_fire], sensors=[clock])
