"""What a tick costs, with 1,000 to 1,000,000 schedules, when none and when 1,000 are due.

python -m bench tick [--sizes 1000 100000 1000000] [--rounds 9] [--explain FILE]
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.filling import fill, run_sql, tidy, within_reach
from bench.report import publish
from bench.scene import tables_named
from bench.watching import Watched, explain, watched
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import RULES, an_agent, database_now

DAY = 86_400
BUDGET_MS = 20.0
BUDGET_RATIO = 1.3


def main() -> int:
    """Measure; 1 when a tick with nothing due costs more than its budget."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--due", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--explain", type=Path, help="write the plans at the largest size there")
    parser.add_argument("--json")
    options = parser.parse_args()
    rows, plans = measure(sorted(options.sizes), options.due, options.rounds)
    good = verdict(rows)
    publish(
        "A tick",
        rows,
        f"Medians of {options.rounds} ticks, in ms. `statements`: time until PostgreSQL answered; "
        "`whole`: with Python and the commits. Budget with nothing due: "
        f"{BUDGET_MS:g} ms in the database at the largest table and ≤ {BUDGET_RATIO:g} × the time "
        f"at the smallest: {'held' if good else 'MISSED'}.",
    )
    report = "\n\n".join(plans)
    if options.explain:
        options.explain.write_text(report + "\n")
    else:
        print(f"\n{report}")
    return 0 if good else 1


def measure(sizes: list[int], due: int, rounds: int) -> tuple[list[dict[str, Any]], list[str]]:
    """A row per size and case, and the plans of both cases at the largest size.

    The sizes take turns, round by round, so that what else the machine does meets all alike.
    """
    with tables_named(*(f"schedules_{size}" for size in sizes)) as stores:
        for store, size in zip(stores, sizes, strict=True):
            far = (database_now(store) + timedelta(days=1)).replace(microsecond=0)
            fill(store, [an_agent(store).id], size, first=far, every=DAY)
            tidy(store)
        rows, plans = [], []
        for number in (0, due):
            rounds_of: list[list[Round]] = [[] for _ in sizes]
            for turn in range(rounds + 1):
                for store, made in zip(stores, rounds_of, strict=True):
                    made.append(_round(store, number))
                    if turn == 0:
                        made.clear()  # what is prepared once is prepared
            rows += _rows(sizes, number, rounds_of)
            _situation(stores[-1], number)
            seen = rounds_of[-1][-1].seen
            plans += [f"--- {sizes[-1]} schedules, {number} due", *explain(stores[-1], seen)]
    return rows, plans


def verdict(rows: list[dict[str, Any]]) -> bool:
    """Whether ticks with nothing due keep their budget, whatever the table's size."""
    idle = [row for row in rows if row["due"] == 0]
    return all(
        row["statements ms"] <= BUDGET_MS and row["ratio to the smallest"] <= BUDGET_RATIO
        for row in idle
    )


@dataclass(frozen=True)
class Round:
    """One tick: its statements, and how long it took in all."""

    seen: Watched
    seconds: float


def _round(store: PostgresStore, due: int) -> Round:
    _situation(store, due)
    begun = time.perf_counter()
    with watched() as seen:
        Clock(store, RULES, lambda _: ()).tick(lambda _: ())
    seconds = time.perf_counter() - begun
    planned = run_sql(store, "select count(*) from fires")[0][0]
    assert planned == due, f"{planned} fires were planned, {due} were due"
    return Round(seen, seconds)


def _rows(sizes: list[int], due: int, rounds_of: list[list[Round]]) -> list[dict[str, Any]]:
    base = statistics.median(each.seen.seconds for each in rounds_of[0])
    return [
        {
            "schedules": size,
            "due": due,
            "statements": len(rounds[-1].seen.statements),
            "statements ms": _milliseconds([each.seen.seconds for each in rounds]),
            "slowest ms": round(max(each.seen.seconds for each in rounds) * 1000, 2),
            "whole ms": _milliseconds([each.seconds for each in rounds]),
            "ratio to the smallest": round(
                statistics.median(each.seen.seconds for each in rounds) / base, 2
            ),
        }
        for size, rounds in zip(sizes, rounds_of, strict=True)
    ]


def _milliseconds(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)


def _situation(store: PostgresStore, due: int) -> None:
    """No fire yet, and that many due."""
    run_sql(store, "truncate fires, slices, dispatches")
    if due:
        _make_due(store, due)


def _make_due(store: PostgresStore, number: int) -> None:
    """Let that many be due at the present minute's end: ahead, within the horizon's frontier."""
    at = within_reach(store)
    run_sql(
        store,
        """
        with chosen as (
            select schedule_id from schedule_clock order by schedule_id limit :number
        ), phased as (
            update agent_run_schedules
            set interval_phase_seconds = mod(cast(extract(epoch from :at) as bigint), :day)
            where id in (select schedule_id from chosen)
        )
        update schedule_clock set next_nominal_at = :at, next_due_at = :at
        where schedule_id in (select schedule_id from chosen)
        """,
        number=number,
        at=at,
        day=DAY,
    )
