"""SIGKILL of the run, of the daemon, of PostgreSQL, in mid-minute: what is lost, doubled, how long.

python -m bench crash
python -m bench crash --burst 1000   # in the middle of that many fires at one instant
"""

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench.crash_burst import in_mid_burst
from bench.killing import kill_present_run, marked
from bench.report import publish
from bench.scene import inputs, next_minute, scene, sleep_until
from tests.agents import RunningAgent
from tests.stack import Stack

SCHEDULES = 40
SECONDS = 2
LATE_SECONDS = 1.0
BUDGET_SECONDS = 60.0


def main() -> int:
    """Kill each of the three in turn, while 20 fires a second are due; 1: the promise is broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--burst", type=int, default=0, metavar="FIRES")
    parser.add_argument("--json")
    options = parser.parse_args()
    wanted = options.rounds
    if options.burst:
        return in_mid_burst(options.burst, wanted)
    victims: dict[str, Callable[[Stack], int]] = {
        "Dagster run": kill_present_run,
        "daemon": lambda stack: stack.kill("daemon"),
        "PostgreSQL": lambda stack: stack.kill("postgres"),
    }
    with scene() as (stack, agent):
        agent_id = stack.register("crash", agent.url)
        for each in range(SCHEDULES):
            stack.create(agent_id, name=f"s{each}", interval_seconds=SECONDS)
        sleep_until(stack, next_minute(stack, ahead=60))
        rows = []
        for _ in range(wanted):
            for name, kill in victims.items():
                rows.append(_round(stack, agent, name, kill))
    good = all(
        not row["lost"] + row["doubled, unmarked"] and row["recovered"] <= BUDGET_SECONDS
        for row in rows
    )
    publish(
        "SIGKILL in mid-minute",
        [_median(name, [row for row in rows if row["killed"] == name]) for name in victims],
        f"{SCHEDULES} schedules every {SECONDS} s. Recovered: from the kill until the last input "
        f"that was more than {LATE_SECONDS:g} s late has arrived. Lost, doubled: sums of {wanted} "
        "round(s), at the agent; a doubled one is `marked` when its ledger row says "
        "possible_duplicate. Recovery: all rounds. Budget: nothing lost, nothing doubled without "
        f"its mark, recovered within {BUDGET_SECONDS:g} s: {'held' if good else 'MISSED'}.",
    )
    return 0 if good else 1


def _round(
    stack: Stack, agent: RunningAgent, name: str, kill: Callable[[Stack], int]
) -> dict[str, Any]:
    """From one full minute to the next but one, with a kill 20 s into the first."""
    begin = next_minute(stack, ahead=5)
    sleep_until(stack, begin + 20)
    killed_at = stack.database_time()
    kill(stack)
    sleep_until_back(stack, begin + 120)
    stack.wait_for(lambda: not _open_before(stack, begin + 120), timeout=120)
    found = [i for i in inputs(agent) if begin <= i["due"] < begin + 120]
    times = Counter(i["fire"] for i in found)
    said = marked(stack)
    late = [i["at"] for i in found if i["at"] - i["due"] > LATE_SECONDS and i["at"] > killed_at]
    doubled = {fire for fire, count in times.items() if count > 1}
    return {
        "killed": name,
        "due": SCHEDULES * 120 // SECONDS,
        "lost": SCHEDULES * 120 // SECONDS - len(times),
        "doubled, marked": len(doubled & said),
        "doubled, unmarked": len(doubled - said),
        "recovered": max(late, default=killed_at) - killed_at,
    }


def sleep_until_back(stack: Stack, instant: float) -> None:
    """As `sleep_until`, with a database that may be away."""

    def there() -> bool:
        try:
            sleep_until(stack, instant)
        except Exception:
            return False
        return True

    stack.wait_for(there, timeout=240)


def _open_before(stack: Stack, instant: float) -> bool:
    query = (
        "select exists (select 1 from fires where finished_at is null "
        f"and due_at < to_timestamp({instant}))"
    )
    return bool(stack.sql(query)[0][0])


def _median(name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "killed": name,
        "due": sum(each["due"] for each in rounds),
        "lost": sum(each["lost"] for each in rounds),
        "doubled, marked": sum(each["doubled, marked"] for each in rounds),
        "doubled, unmarked": sum(each["doubled, unmarked"] for each in rounds),
        "recovered s": ", ".join(f"{each['recovered']:.1f}" for each in rounds),
    }
