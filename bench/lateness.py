"""How late is an input at the agent? The whole house at work, nobody watching.

python -m bench lateness [--fires 1 10 20 100 1000] [--instants 12] [--every SECONDS]

Instants at which another Dagster run starts (the next minute's, 30 s ahead of it) are told apart
from the others: such a start takes seconds of processor time. The last case: 1,000 agents with a
fire each, 100 of which never answer; the lateness of the other 900.
"""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench.filling import fill, run_sql
from bench.instants import Input, due_at, tally
from bench.report import lateness, publish
from bench.scene import inputs, ledger, next_minute, scene, sleep_until
from tests.agents import RunningAgent
from tests.stack import Stack

BUDGETS_MS = {1: (50, 120), 5: (150, 150), 10: (50, 120), 20: (150, 150), 100: (150, 200)}
"""Fires at one instant: p99 while no other run starts, and while one does."""
MEDIANS_MS = {5: 40, 20: 40}
"""Fires at one instant: p50."""
AGENTS = 1_000
HANGING = 100
RUN_STARTS = """
select extract(epoch from greatest(s.starts_at, d.started_at) - interval '30 seconds'),
       extract(epoch from d.started_at + interval '1 second')
from dispatches d join slices s using (slice_key)
"""


def main() -> int:
    """Run every case, one after another, on one house; 1 when a budget is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fires", type=int, nargs="*", default=[1, 10, 20, 100, 1_000])
    parser.add_argument("--instants", type=int, default=12)
    parser.add_argument("--every", type=int, help="seconds between instants [10; 30 beyond 100]")
    parser.add_argument("--agents", type=int, default=AGENTS, help="0 leaves the last case out")
    parser.add_argument("--hanging", type=int, default=HANGING)
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = []
    with scene(request_timeout_seconds="5") as (stack, agent):
        for fires in options.fires:
            every = options.every or (10 if fires <= 100 else 30)
            case = _Case(stack, agent, [stack.register(f"case-{fires}", agent.url)])
            rows += case.measure(f"{fires}", fires, every, options.instants)
        if options.agents:
            name = f"{options.agents} agents, {options.hanging} hang"
            rows += _hanging(stack, agent, name, options.agents, options.hanging)
    good = all(
        row["verdict"] != "MISSED" and not row["lost"] + row["doubled"] + row["early"]
        for row in rows
    )
    publish(
        "Lateness at the agent",
        rows,
        "Arrival of the input at the agent minus the nominal time; two HTTP calls per fire. "
        f"All budgets {'held' if good else 'are NOT held'}.",
    )
    return 0 if good else 1


def _hanging(
    stack: Stack, agent: RunningAgent, name: str, agents: int, hanging: int
) -> list[dict[str, Any]]:
    bad = [stack.register(f"bad-{each}", agent.url_for("hang")) for each in range(hanging)]
    good = [stack.register(f"good-{each}", agent.url) for each in range(agents - hanging)]
    with ledger(stack) as store:
        begin = next_minute(stack, ahead=40)
        first, last = (datetime.fromtimestamp(at, UTC) for at in (begin, begin + 180))
        fill(store, bad, hanging, first=first, every=60, prefix="bad", end_at=last)
    return _Case(stack, agent, good, begin).measure(name, agents - hanging, 60, 4)


class _Case:
    """So many fires at one instant, again and again."""

    def __init__(
        self, stack: Stack, agent: RunningAgent, agents: list[str], begin: float | None = None
    ) -> None:
        self._stack, self._agent, self._agents = stack, agent, agents
        # The clocks' first instants lie behind the frontier: a tick has time to plan them.
        self._begin = begin or next_minute(stack, ahead=40)

    def measure(self, name: str, fires: int, every: int, instants: int) -> list[dict[str, Any]]:
        """A row for instants alone, a row for those beside a start of a run."""
        dues = [self._begin + every * each for each in range(instants)]
        first, last = (datetime.fromtimestamp(at, UTC) for at in (dues[0], dues[-1]))
        with ledger(self._stack) as store:
            fill(store, self._agents, fires, first=first, every=every, prefix="s", end_at=last)
            query = "select id from agent_run_schedules where agent_id = any(:ids)"
            ours = {row.id for row in run_sql(store, query, ids=self._agents)}
            sleep_until(self._stack, dues[-1] + 10)
            starts = [(float(a), float(b)) for a, b in run_sql(store, RUN_STARTS)]
        found = inputs(self._agent)
        beside = [due for due in dues if any(a <= due <= b for a, b in starts)]
        alone = [due for due in dues if due not in beside]
        cases = ((alone, "no", 0), (beside, "yes", 1))
        return [
            _row(
                name,
                starting,
                due_at(found, some, ours),
                fires * len(some),
                _budget(fires, n),
                MEDIANS_MS.get(fires),
            )
            for some, starting, n in cases
            if some
        ]


def _budget(fires: int, beside: int) -> int | None:
    return BUDGETS_MS[fires][beside] if fires in BUDGETS_MS else None


def _row(
    name: str,
    starting: str,
    found: Sequence[Input],
    due: int,
    budget: int | None,
    median: int | None = None,
) -> dict[str, Any]:
    measured = lateness([each["at"] - each["due"] for each in found])
    held = budget is None or measured["p99_ms"] <= budget
    held = held and (median is None or measured["p50_ms"] <= median)
    return {
        "fires at one instant": name,
        "another run starts": starting,
        **tally(found, due),
        **measured,
        "budget p50": median or "none",
        "budget p99": budget or "none",
        "p99 / budget": round(measured["p99_ms"] / budget, 2) if budget else "",
        "verdict": ("held" if held else "MISSED") if budget else "",
    }
