"""SIGKILL in the middle of many fires at one instant: see `bench.crash`."""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Any

from bench.filling import fill
from bench.killing import kill_present_run, kill_run_and_daemon, kill_run_and_parent, marked
from bench.report import publish
from bench.scene import inputs, ledger, next_minute, scene, sleep_until
from tests.agents import RunningAgent
from tests.stack import Stack

AGENTS = 10
DAY = 86_400
AHEAD_SECONDS = 35
"""The clocks' instant lies behind the frontier: a tick has time to plan them."""
BUDGET_SECONDS = 45.0
PATIENCE_SECONDS = 150.0
VICTIMS: dict[str, Callable[[Stack], int]] = {
    "Dagster run": kill_present_run,
    "run and daemon": kill_run_and_daemon,
    "run and its parent": kill_run_and_parent,
}


def in_mid_burst(fires: int, rounds: int) -> int:
    """Kill when a third has arrived. 1: lost, doubled without its mark, or too late."""
    numbers = itertools.count(1)
    with scene() as (stack, agent):
        agents = [stack.register(f"agent-{n}", agent.url) for n in range(AGENTS)]
        rows = [
            _round(stack, agent, agents, fires, name, f"burst-{next(numbers)}")
            for _ in range(rounds)
            for name in VICTIMS
        ]
    good = all(
        not row["lost"] + row["repeated, unmarked"] and row["recovered s"] <= BUDGET_SECONDS
        for row in rows
    )
    publish(
        f"SIGKILL in the middle of {fires} fires at one instant",
        rows,
        f"{AGENTS} agents in one process. Killed when a third of the inputs had arrived. In doubt: "
        "rows in `task_created` after the kill, whose inputs may have been sent. Repeated: inputs "
        "that the agent had twice; marked: possible_duplicate in the ledger; p50 / max of "
        "how long before the kill the agent had the first one. Recovered: from the "
        "kill until the agent had every input. Budget: nothing lost, none repeated without its "
        f"mark, recovered within {BUDGET_SECONDS:g} s: {'held' if good else 'MISSED'}.",
    )
    return 0 if good else 1


def _round(
    stack: Stack, agent: RunningAgent, agents: list[str], fires: int, name: str, prefix: str
) -> dict[str, Any]:
    at = next_minute(stack, ahead=AHEAD_SECONDS)
    instant = datetime.fromtimestamp(at, UTC)
    with ledger(stack) as store:
        fill(store, agents, fires, first=instant, every=DAY, prefix=prefix, end_at=instant)
    before = len(agent.received("event/send"))
    sleep_until(stack, at - 0.5)
    agent.wait_for(before + fires // 3, method="event/send", timeout=30)
    killed_at = time.time()
    VICTIMS[name](stack)
    states = _states(stack, instant)
    stack.wait_for(lambda: not _open(stack, instant), timeout=PATIENCE_SECONDS)

    found = [i for i in inputs(agent) if i["due"] == at]
    times = Counter(i["fire"] for i in found)
    firsts = {i["fire"]: i["at"] for i in reversed(found)}
    repeated, said = {fire for fire, count in times.items() if count > 1}, marked(stack)
    # By how much an input was ahead of the commit that would have said so.
    ages = sorted((killed_at - firsts[fire]) * 1000 for fire in repeated)
    return {
        "killed": name,
        "due": fires,
        "had at the kill": sum(1 for first in firsts.values() if first <= killed_at),
        "in doubt": states["task_created"],
        "lost": fires - len(times),
        "repeated, marked": len(repeated & said),
        "repeated, unmarked": len(repeated - said),
        "repeated had ms": f"{median(ages):.0f} / {ages[-1]:.0f}" if ages else "",
        "recovered s": round(max(i["at"] for i in found) - killed_at, 1),
    }


def _states(stack: Stack, instant: datetime) -> Counter[str]:
    query = f"select state, count(*) from fires where due_at = '{instant}' group by state"
    return Counter({str(state): int(count) for state, count in stack.sql(query)})


def _open(stack: Stack, instant: datetime) -> bool:
    query = f"select 1 from fires where due_at = '{instant}' and finished_at is null limit 1"
    return bool(stack.sql(query))
