"""How long from a person's trigger until the agent has the input?

python -m bench trigger --minutes 10      # one trigger a minute where no run is up
"""

import argparse
import time

from bench.report import lateness, publish
from bench.scene import next_minute, scene, sleep_until
from tests.agents import RunningAgent
from tests.stack import Stack

WARM_TRIGGERS = 40
TICK_SECONDS = 5.0
LONGEST_SECONDS = 60.0
FAR_AHEAD = "2099-01-01T00:00:00Z"


def main() -> None:
    """First where no Dagster run is up, a minute each; then beside a schedule that keeps one up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--json")
    minutes = parser.parse_args().minutes
    with scene() as (stack, agent):
        schedule = stack.create(
            stack.register("triggered", agent.url), name="triggered", fire_at=FAR_AHEAD
        )
        cold = []
        for turn in range(minutes):
            # A trigger keeps a run up for the rest of its minute. Spread over the phases of a tick.
            sleep_until(stack, next_minute(stack, ahead=0) + 1 + TICK_SECONDS * turn / minutes)
            cold.append(_seconds(stack, agent, schedule))
        stack.create(stack.register("busy", agent.url), name="busy", interval_seconds=5)
        sleep_until(stack, next_minute(stack, ahead=30) + 1)
        warm = [_seconds(stack, agent, schedule) for _ in range(WARM_TRIGGERS)]
    publish(
        "From a trigger to the agent",
        [_row("no run is up", cold, 6_000, 9_000), _row("a run is up", warm, 1_200, 1_200)],
        "Arrival of the input at the agent minus the moment before the request, on one host clock.",
    )


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


def _row(case: str, seconds: list[float], p50: int, p99: int) -> dict[str, object]:
    measured = lateness(seconds)
    return {
        "case": case,
        "triggers": len(seconds),
        **measured,
        "budget p50/p99": f"{p50} / {p99}",
        "p99 / budget": round(measured["p99_ms"] / p99, 2),
    }


if __name__ == "__main__":
    main()
