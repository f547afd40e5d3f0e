"""How long from a person's trigger until the agent has the input?

python -m bench trigger --minutes 5              # 50 triggers spread over them, with the standby up
python -m bench trigger --minutes 10 --without   # where no run is up, and beside one
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

from bench.report import lateness, publish
from bench.scene import inputs, next_minute, scene, sleep_until
from tests.agents import RunningAgent
from tests.stack import Stack

TRIGGERS = 50
AT_ONCE = 20
WARM_TRIGGERS = 40
LONGEST_SECONDS = 60.0
FAR_AHEAD = "2099-01-01T00:00:00Z"


def main() -> int:
    """1 when a crowd of triggers of one schedule is not as many deliveries."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--without", action="store_true", help="without a standby")
    parser.add_argument("--json")
    options = parser.parse_args()
    measure = _without_standby if options.without else _with_standby
    rows, about = measure(options.minutes)
    publish(
        "From a trigger to the agent",
        rows,
        "Arrival of the input at the agent minus the moment before the request, on one host clock. "
        + about,
    )
    return 0 if all(row["inputs"] == row["triggers"] for row in rows) else 1


def _with_standby(minutes: float) -> tuple[list[dict[str, object]], str]:
    with scene() as (stack, agent):
        schedule = _far_ahead(stack, agent)
        stack.wait_for(lambda: _standbys(stack), LONGEST_SECONDS)
        began, spread = time.monotonic(), []
        for turn in range(TRIGGERS):
            time.sleep(max(0, began + turn * minutes * 60 / TRIGGERS - time.monotonic()))
            spread.append(_seconds(stack, agent, schedule))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            asked = time.monotonic()
            crowd = list(threads.map(lambda _: _seconds(stack, agent, schedule), range(AT_ONCE)))
            taken = time.monotonic() - asked
        runs = stack.sql("select count(*) from dispatches")[0][0]
        got = len(inputs(agent))
        rows = [
            _row("one at a time", spread, 100, 300, got - len(crowd)),
            _row(f"{AT_ONCE} of one schedule at once", crowd, 1_000, 1_000, got - len(spread)),
        ]
    return rows, f"{runs} Dagster runs in all; the crowd was through after {taken:.2f} s at most."


def _without_standby(minutes: float) -> tuple[list[dict[str, object]], str]:
    """First where no Dagster run is up, a minute each; then beside a schedule that keeps one up."""
    with scene(standby="false") as (stack, agent):
        schedule = _far_ahead(stack, agent)
        cold = []
        for turn in range(round(minutes)):
            # A trigger keeps a run up for the rest of its minute. Spread over the phases of a wait.
            sleep_until(stack, next_minute(stack, ahead=0) + 1 + 15 * turn / minutes)
            cold.append(_seconds(stack, agent, schedule))
        stack.create(stack.register("busy", agent.url), name="busy", interval_seconds=5)
        sleep_until(stack, next_minute(stack, ahead=30) + 1)
        warm = [_seconds(stack, agent, schedule) for _ in range(WARM_TRIGGERS)]
        mine = [i for i in inputs(agent) if i["schedule"] == schedule["id"]]
    rows = [
        _row("no run is up", cold, 6_000, 9_000, len(mine) - len(warm)),
        _row("a run is up", warm, 1_200, 1_200, len(mine) - len(cold)),
    ]
    return rows, "Without a standby."


def _far_ahead(stack: Stack, agent: RunningAgent) -> dict[str, str]:
    agent_id = stack.register("triggered", agent.url)
    return stack.create(agent_id, name="triggered", fire_at=FAR_AHEAD)


def _standbys(stack: Stack) -> int:
    query = (
        "select count(*) from dispatches join slices using (slice_key) "
        "where kind = 'now' and finished_at is null"
    )
    return int(stack.sql(query)[0][0])


def _seconds(stack: Stack, agent: RunningAgent, schedule: dict[str, str]) -> float:
    began = time.time()
    path = f"/agents/{schedule['agent_id']}/schedules/{schedule['id']}/trigger"
    answer = stack.api.post(path)
    answer.raise_for_status()
    fire = answer.json()["triggered_fire_id"]

    def arrival() -> float | None:
        inputs = agent.received("event/send")
        return next((float(i["at"]) for i in inputs if i["idempotency_key"] == fire), None)

    arrived: float = stack.wait_for(arrival, timeout=LONGEST_SECONDS)
    return arrived - began


def _row(case: str, seconds: list[float], p50: int, p99: int, got: int) -> dict[str, object]:
    measured = lateness(seconds)
    return {
        "case": case,
        "triggers": len(seconds),
        "inputs": got,
        **measured,
        "budget p50/p99": f"{p50} / {p99}",
        "p99 / budget": round(measured["p99_ms"] / p99, 2),
    }


if __name__ == "__main__":
    raise SystemExit(main())
