"""What the whole house uses at rest and under steady work, and what that leaves in the database.

python -m bench steady [--seconds 600] [--idle-seconds 300] [--rate 10]
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg

from bench.filling import fill, run_sql
from bench.instants import due_at, tally
from bench.report import Table, lateness, publish_all
from bench.scene import inputs, ledger, next_minute, scene, sleep_until
from bench.usage import Usage, descendants, together, usage_below, usage_of_each
from schedules_pipeline.dev.databases import with_database
from schedules_pipeline.dev.postgres import DATABASE, EmbeddedPostgres
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.stack import Stack

EVERY = 10
SAMPLE_SECONDS = 5.0
SETTLE_SECONDS = 30.0
IDLE_CPU_PERCENT = 10.0
IDLE_RSS_MIB = 1024.0
HOT_TABLES = ("fires", "schedule_clock", "slices", "dispatches")
LEDGER = ("fires", "gaps", "slices", "dispatches", "tasks", "schedule_clock")


def main() -> int:
    """Idle first, then at work; 1 when idling costs more than its budget, or a fire is lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600, help="at work")
    parser.add_argument("--idle-seconds", type=int, default=300, help="at rest")
    parser.add_argument("--rate", type=int, default=10, help="fires a second")
    parser.add_argument("--json")
    options = parser.parse_args()
    with scene() as (stack, agent):
        agent_id = stack.register("steady", agent.url)
        time.sleep(SETTLE_SECONDS)
        at_rest = _by_part(stack)
        idle = _used(stack, stack.database_time() + options.idle_seconds)
        parts = _parts(at_rest, _by_part(stack), idle["seconds"])
        begin = next_minute(stack, ahead=40)
        end = begin + options.seconds
        with ledger(stack) as store:
            _fill(store, agent_id, options.rate, begin, end)
            before = _sizes(stack), _updates(store)  # planning begins before the first instant
            sleep_until(stack, begin)
            at_work = _used(stack, end)
            sleep_until(stack, end // 60 * 60 + 75)  # the last minute is audited
            after = _sizes(stack), _updates(store)
            ours = {row.id for row in run_sql(store, "select id from agent_run_schedules")}
        found = inputs(agent)
    dues = {each["due"] for each in found}
    mine = due_at(found, dues, ours)
    counted = tally(mine, options.rate * options.seconds)
    good = (
        idle["CPU % of a core"] <= IDLE_CPU_PERCENT
        and idle["RSS MiB"] <= IDLE_RSS_MIB
        and not counted["lost"] + counted["doubled"]
    )
    late = lateness([each["at"] - each["due"] for each in mine])
    publish_all(
        Table(
            f"The whole house, {options.idle_seconds} s at rest and {options.seconds} s at work",
            [{"case": "idle", **idle}, {"case": f"{options.rate} fires/s", **at_work}],
            "CPU: of all processes of `schedules dev`, PostgreSQL included, the agent not. Memory: "
            "medians of samples; PSS divides what processes share. Budget at rest: "
            f"≤ {IDLE_CPU_PERCENT:g} % of a core, ≤ {IDLE_RSS_MIB:g} MiB RSS, and no fire lost or "
            f"doubled at work: {'held' if good else 'MISSED'}.",
        ),
        Table(
            "At rest, part by part",
            parts,
            "At the end of it. `Dagster runs`: the standby worker.",
        ),
        Table("The fires of it", [counted | late], "Lateness at the agent."),
        Table(
            "Growth",
            _growth(before[0], after[0], counted["fires"]),
            "Indexes included. A minute is one Dagster run, whatever its fires.",
        ),
        Table("HOT updates", _hot(before[1], after[1]), "Updates that touched no index."),
    )
    return 0 if good else 1


def _fill(store: PostgresStore, agent_id: str, rate: int, begin: float, end: float) -> None:
    """`rate` schedules due in each second, each every 10 s."""
    for second in range(EVERY):
        first = datetime.fromtimestamp(begin + second, UTC)
        last = datetime.fromtimestamp(end - 1, UTC)
        fill(
            store,
            [agent_id],
            rate,
            first=first,
            every=EVERY,
            prefix=f"steady-{second}",
            end_at=last,
        )


def _used(stack: Stack, until: float) -> dict[str, float]:
    """From now until then."""
    first, begun = usage_below(stack.process.pid), time.monotonic()
    samples = [first]
    while stack.database_time() < until:
        time.sleep(SAMPLE_SECONDS)
        samples.append(usage_below(stack.process.pid))
    seconds = time.monotonic() - begun
    return {
        "seconds": round(seconds),
        "CPU % of a core": round(100 * (samples[-1].cpu - first.cpu) / seconds, 1),
        "RSS MiB": round(statistics.median(each.rss for each in samples)),
        "largest RSS MiB": round(max(each.rss for each in samples)),
        "PSS MiB": round(statistics.median(each.pss for each in samples)),
        "processes": round(statistics.median(each.processes for each in samples)),
    }


def _by_part(stack: Stack) -> dict[str, Usage]:
    """What each part of the house uses; what none of them is, is a Dagster run or its helper."""
    root = stack.process.pid
    records = json.loads((stack.home / "run" / "parts.json").read_text())
    names = {record["pid"]: name for name, record in records.items()} | {root: "supervisor"}
    each = usage_of_each(root)
    names |= dict.fromkeys(descendants(records["postgres"]["pid"]), "postgres")
    of_parts: dict[str, list[Usage]] = {}
    for pid, used in each.items():
        of_parts.setdefault(names.get(pid, "Dagster runs"), []).append(used)
    return {name: together(used) for name, used in of_parts.items()}


def _parts(
    before: Mapping[str, Usage], after: Mapping[str, Usage], seconds: float
) -> list[dict[str, Any]]:
    return [
        {
            "part": name,
            "CPU % of a core": round(100 * (used.cpu - before[name].cpu) / seconds, 2),
            "RSS MiB": round(used.rss),
            "PSS MiB": round(used.pss),
            "processes": used.processes,
        }
        for name, used in sorted(after.items(), key=lambda item: -item[1].rss)
        if name in before
    ]


def _sizes(stack: Stack) -> dict[str, int]:
    """Bytes of each of our ledger's tables, and of all of Dagster's that hold anything."""
    url = EmbeddedPostgres(stack.home / "postgres").url
    query = "select relname, pg_total_relation_size(relid) from pg_stat_user_tables"
    with psycopg.connect(url) as ours:
        sizes = {name: size for name, size in ours.execute(query) if name in LEDGER}
    with psycopg.connect(with_database(url, f"{DATABASE}_dagster")) as dagsters:
        return sizes | {f"Dagster: {name}": size for name, size in dagsters.execute(query)}


def _growth(
    before: Mapping[str, int], after: Mapping[str, int], fires: int
) -> list[dict[str, Any]]:
    grown = {name: size - before.get(name, 0) for name, size in after.items()}
    of = {
        "the ledger": [size for name, size in grown.items() if name in LEDGER],
        "Dagster's tables": [size for name, size in grown.items() if name not in LEDGER],
    }
    totals = {f"all of {name}": sum(sizes) for name, sizes in of.items()}
    return [
        {
            "table": name,
            "grew by KiB": round(size / 1024),
            "KiB per 1,000 fires": round(size / 1024 / fires * 1000, 1),
        }
        for name, size in (totals | grown).items()
        if size
    ]


def _updates(store: PostgresStore) -> dict[str, tuple[int, int]]:
    query = "select relname, n_tup_upd, n_tup_hot_upd from pg_stat_user_tables"
    return {row[0]: (row[1], row[2]) for row in run_sql(store, query) if row[0] in HOT_TABLES}


def _hot(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    rows = []
    for name in HOT_TABLES:
        updates, hot = (after[name][each] - before[name][each] for each in (0, 1))
        share = round(100 * hot / updates, 1) if updates else "none"
        rows.append({"table": name, "updates": updates, "HOT": hot, "HOT %": share})
    return rows
