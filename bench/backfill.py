"""A person's backfill of missed hours in the Dagster UI: from the click until all is delivered.

python -m bench backfill
"""

import argparse
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.report import publish
from bench.scene import inputs, scene
from tests.agents import RunningAgent
from tests.clicks import end_of_backfill, launch_backfill, missing_partitions
from tests.stack import Stack

HOURS = 20
SCHEDULES = 3
INTERVAL_SECONDS = 1200
BUDGET_SECONDS = 60.0
PATIENCE_SECONDS = 180.0
# Each round begins at another phase of Dagster's look for backfills.
PHASE_SECONDS = 7.0


def main() -> int:
    """1: something was lost or doubled, or came too late."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--json")
    options = parser.parse_args()
    with scene() as (stack, agent):
        rows = []
        for number in range(options.rounds):
            time.sleep(number * PHASE_SECONDS % 30)
            rows.append(_round(stack, agent, number, options.hours))
    good = all(
        not row["lost"] + row["doubled"] and row["last input s"] <= BUDGET_SECONDS for row in rows
    )
    publish(
        f"A UI backfill of {options.hours} missed hours",
        rows,
        f"{SCHEDULES} schedules every {INTERVAL_SECONDS} s; the hours are clicked on together. "
        "Seconds from before the click: until the agent had the first and the last input, and "
        "until Dagster called the backfill ended. Lost, doubled: at the agent. Budget: nothing "
        f"lost, nothing doubled, the last within {BUDGET_SECONDS:g} s: "
        f"{'held' if good else 'MISSED'}.",
    )
    return 0 if good else 1


def _round(stack: Stack, agent: RunningAgent, number: int, hours: int) -> dict[str, Any]:
    until = int(stack.database_time()) // 3600 * 3600
    begin = until - hours * 3600
    schedules = _missed(stack, agent, number, begin)
    keys = [_key(begin + each * 3600) for each in range(hours)]
    stack.wait_for(lambda: set(keys) <= set(missing_partitions(stack)), PATIENCE_SECONDS)
    due = SCHEDULES * hours * 3600 // INTERVAL_SECONDS

    clicked = time.time()
    backfill = launch_backfill(stack, keys)
    end_of_backfill(stack, backfill, PATIENCE_SECONDS)
    ended = time.time()
    found = [i for i in inputs(agent) if i["schedule"] in schedules and begin <= i["due"] < until]
    times = Counter((i["schedule"], i["due"]) for i in found)
    return {
        "hours": hours,
        "due": due,
        "delivered": len(times),
        "lost": due - len(times),
        "doubled": sum(1 for count in times.values() if count > 1),
        "first input s": round(min((i["at"] for i in found), default=ended) - clicked, 1),
        "last input s": round(max((i["at"] for i in found), default=ended) - clicked, 1),
        "ended s": round(ended - clicked, 1),
    }


def _missed(stack: Stack, agent: RunningAgent, number: int, begin: int) -> set[str]:
    """Schedules as an outage leaves them: their clocks stand at an occurrence long past."""
    agent_id = stack.register(f"outage-{number}", agent.url)
    made = {
        stack.create(agent_id, name=f"s{each}", interval_seconds=INTERVAL_SECONDS)["id"]
        for each in range(SCHEDULES)
    }
    ids = ", ".join(f"'{schedule}'" for schedule in made)
    stack.sql(
        f"update schedule_clock set next_nominal_at = to_timestamp({begin}), "
        f"next_due_at = to_timestamp({begin}) where schedule_id in ({ids}) returning 1"
    )
    return made


def _key(hour: int) -> str:
    instant = datetime.fromtimestamp(0, UTC) + timedelta(seconds=hour)
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}/missed"


if __name__ == "__main__":
    raise SystemExit(main())
