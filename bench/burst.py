"""Many fires at one instant, alone, beside agents that never answer, and by stock Dagster.

python -m bench burst [--fires 10000] [--rounds 3] [--hanging 500] [--stock 20]

The ratio is to stock Dagster with one run per fire, measured after it in the same run.
"""

import argparse
import statistics
from datetime import UTC, datetime
from typing import Any

from bench.filling import fill, run_sql
from bench.instants import due_at, tally
from bench.report import publish
from bench.scene import inputs, ledger, next_minute, scene, sleep_until
from bench.stock import measure as measure_stock
from tests.agents import RunningAgent
from tests.stack import Stack

AGENTS = 10
BUDGET_RATE = 500
BUDGET_AUDIT_SECONDS = 150
GIVE_UP_SECONDS = 400
DAY = 86_400

Numbers = dict[str, float]


def main() -> int:
    """Bursts alone, then with the hanging agent's fires at the same instants; 1: budget missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fires", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hanging", type=int, default=500, help="0 leaves that case out")
    parser.add_argument("--stock", type=int, default=20, help="0 leaves that case out")
    parser.add_argument("--json")
    options = parser.parse_args()
    cases = [("alone", 0), (f"beside {options.hanging} that hang", options.hanging)]
    rows = []
    with scene() as (stack, agent):
        for name, hanging in cases if options.hanging else cases[:1]:
            rounds = [
                _burst(stack, agent, f"{hanging}-{number}", options.fires, hanging)
                for number in range(options.rounds)
            ]
            rows.append(_row(name, rounds))
    if options.stock:
        rows.append(_row("stock Dagster, one run per fire", [measure_stock(options.stock)]))
        for row in rows:
            row["ratio to stock"] = round(row["fires/s"] / rows[-1]["fires/s"], 1)
    good = _verdict(rows[0])
    publish(
        f"A burst of {options.fires} fires at one instant",
        rows,
        f"Two HTTP calls per fire, {AGENTS} agents in one process; medians of {options.rounds} "
        "bursts (stock: one). fires/s: from the nominal instant to the last input. Audited: until "
        f"each fire has its event in Dagster. Budget alone: ≥ {BUDGET_RATE}/s, none lost, doubled "
        f"or early, audited within {BUDGET_AUDIT_SECONDS} s: {'held' if good else 'MISSED'}.",
    )
    return 0 if good else 1


def _burst(stack: Stack, agent: RunningAgent, name: str, fires: int, hanging: int) -> Numbers:
    good = [stack.register(f"good-{name}-{each}", agent.url) for each in range(AGENTS)]
    bad = [stack.register(f"bad-{name}", agent.url_for("hang"))]
    instant = next_minute(stack, ahead=40)
    first = datetime.fromtimestamp(instant, UTC)
    with ledger(stack) as store:
        fill(store, good, fires, first=first, every=DAY, end_at=first)
        if hanging:
            fill(store, bad, hanging, first=first, every=DAY, end_at=first)
        assert stack.database_time() < instant - 32, "filling took too long"
        sleep_until(stack, instant + 30)
        audited = f"""
            select count(*) = {fires}, extract(epoch from max(f.recorded_at)),
                   count(*) filter (where f.state <> 'delivered')
            from fires f where f.agent_id = any(:ids) and f.recorded_at is not null
        """
        seen = stack.wait_for(
            lambda: [row for row in run_sql(store, audited, ids=good) if row[0]], GIVE_UP_SECONDS
        )
        query = "select id from agent_run_schedules where agent_id = any(:ids)"
        ours = {row.id for row in run_sql(store, query, ids=good)}
    mine = due_at(inputs(agent), [instant], ours)
    arrivals = [each["at"] - instant for each in mine]
    return {
        "rate": fires / max(arrivals),
        "first": min(arrivals),
        "last": max(arrivals),
        "audited": float(seen[0][1]) - instant,
        "undelivered": seen[0][2],
        **tally(mine, fires),
    }


def _verdict(row: dict[str, Any]) -> bool:
    faults = row["lost"] + row["doubled"] + row["early"] + row["undelivered"]
    timely = row["audited s"] <= BUDGET_AUDIT_SECONDS
    return bool(row["fires/s"] >= BUDGET_RATE and timely and not faults)


def _row(case: str, rounds: list[Numbers]) -> dict[str, Any]:
    def middle(name: str, digits: int) -> float:
        return round(statistics.median(each[name] for each in rounds), digits)

    return {
        "case": case,
        "fires": rounds[0]["fires"],
        "fires/s": middle("rate", 2),
        "fires/s (all)": ", ".join(f"{each['rate']:.2f}" for each in rounds),
        "first input s": middle("first", 3),
        "last input s": middle("last", 2),
        "audited s": middle("audited", 1),
        **{
            name: sum(each[name] for each in rounds)
            for name in ("lost", "doubled", "early", "undelivered")
        },
    }
