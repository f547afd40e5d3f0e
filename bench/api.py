"""How many schedules a second are created, and how long lists take among 100,000 schedules.

python -m bench api [--schedules 100000] [--creates 2000] [--lists 200] [--rounds 5]

`schedules serve` in a process of its own, asked over real connections that are kept open. Creates
come from many clients at once; lists from one, one after another, so that what is measured is the
answer and no queue. `server CPU ms` is the server's own processor time for each request, which
other work on the machine does not change.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp

from bench.filling import fill, run_sql, tidy
from bench.report import Table, lateness, publish_all
from bench.scene import tables, url_of, workplace
from bench.usage import usage_below
from fuzz.serving import Served, served
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import an_agent

BUDGET_CREATES = 300
BUDGET_LIST_MS = 20.0
CLIENTS = 10
AGENTS = 50
"""One of them has half of all schedules, the others share the rest."""

Row = dict[str, Any]


def main() -> int:
    """Measure; 1 when a budget is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--creates", type=int, default=2_000)
    parser.add_argument("--lists", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    with tables() as store, workplace() as folder:
        agents = _filled(store, options.schedules)
        with served(url_of(store).replace("+psycopg", ""), folder) as server:
            lists = asyncio.run(_lists(server, agents, options.lists))
            creates = asyncio.run(_creates(server, agents[1:], options.creates, options.rounds))
            server.stop()
    rate, hundred = creates[-1]["creates/s"], lists[0]["p50_ms"]
    fast, quick = rate >= BUDGET_CREATES, hundred <= BUDGET_LIST_MS
    publish_all(
        Table(
            f"Creating schedules beside {options.schedules:,} of them",
            creates,
            f"{CLIENTS} clients at once. Last row: medians of {options.rounds} rounds. Budget: "
            f"≥ {BUDGET_CREATES}/s: {_verdict(fast)}.",
        ),
        Table(
            f"Reading among {options.schedules:,} schedules",
            lists,
            f"One client, {options.lists} requests each. Budget: an agent's first 100 ≤ "
            f"{BUDGET_LIST_MS:g} ms (p50): {_verdict(quick)}.",
        ),
    )
    return 0 if fast and quick else 1


def _verdict(held: bool) -> str:
    return "held" if held else "MISSED"


def _filled(store: PostgresStore, number: int) -> list[str]:
    """Agents; the first one is the large one. Their schedules differ in when they were made."""
    agents = [an_agent(store).id for _ in range(AGENTS)]
    first = store.now().replace(microsecond=0) + timedelta(days=1)
    fill(store, agents[:1], number // 2, first=first, every=3_600, prefix="large")
    fill(store, agents[1:], number - number // 2, first=first, every=3_600)
    run_sql(
        store, "update agent_run_schedules set created_at = created_at - random() * '1d'::interval"
    )
    tidy(store)
    return agents


async def _lists(server: Served, agents: list[str], times: int) -> list[Row]:
    large = f"/agents/{agents[0]}/schedules"
    asked = {
        "an agent's first 100": f"{large}?limit=100",
        "an agent's first 100, live": f"{large}?limit=100&include_live=true",
        "an agent's first 1,000": f"{large}?limit=1000",
        "an agent's first 1,000, 200 of them live": f"{large}?limit=1000&include_live=true",
        "all agents', first 100": "/schedules?limit=100",
        "all agents', first 100, live": "/schedules?limit=100&include_live=true",
        "all agents', 100 in the middle": "/schedules?limit=100&cursor={cursor}",
        "all agents', text that 11 have": "/schedules?limit=100&text=large-4711",
        "all agents', text that none has": "/schedules?limit=100&text=nowhere",
    }
    async with _session(server) as session:
        cursor = await _middle(session)
        return [
            {"what": what, **await _timed(server, session, path.format(cursor=cursor), times)}
            for what, path in asked.items()
        ]


async def _timed(server: Served, session: aiohttp.ClientSession, path: str, times: int) -> Row:
    """One after another; the first few are not counted."""
    size = 0
    for _ in range(5):
        size = len(await _text(session, path))
    took, before = [], usage_below(server.process.pid).cpu
    for _ in range(times):
        begun = time.monotonic()
        await _text(session, path)
        took.append(time.monotonic() - begun)
    cpu = usage_below(server.process.pid).cpu - before
    return {
        **lateness(took),
        "server CPU ms": round(cpu / times * 1_000, 1),
        "KiB": round(size / 1_024),
    }


async def _middle(session: aiohttp.ClientSession) -> str:
    """A cursor ten pages of 1,000 on."""
    cursor = ""
    for _ in range(10):
        more = f"&cursor={cursor}" if cursor else ""
        cursor = json.loads(await _text(session, f"/schedules?limit=1000{more}"))["next_cursor"]
    return cursor


async def _creates(server: Served, agents: list[str], number: int, rounds: int) -> list[Row]:
    async with _session(server) as session:
        rows = [await _round(server, session, agents, number, each) for each in range(rounds)]
    return [
        *rows,
        {name: round(statistics.median(row[name] for row in rows), 1) for name in rows[0]},
    ]


async def _round(
    server: Served, session: aiohttp.ClientSession, agents: list[str], number: int, which: int
) -> Row:
    took: list[float] = []
    waiting = iter(range(number))

    async def client() -> None:
        for each in waiting:
            body = _body(f"made-{which}-{each}")
            begun = time.monotonic()
            path = f"/agents/{agents[each % len(agents)]}/schedules"
            async with session.post(path, json=body) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            took.append(time.monotonic() - begun)

    before, begun = usage_below(server.process.pid).cpu, time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    seconds = time.monotonic() - begun
    cpu = usage_below(server.process.pid).cpu - before
    return {
        "creates/s": round(number / seconds),
        **lateness(took),
        "server CPU ms": round(cpu / number * 1_000, 2),
    }


def _body(name: str) -> Row:
    return {
        "name": name,
        "description": "Writes the report of the day before",
        "cron_expression": "0 9 * * mon-fri",
        "timezone": "Europe/Berlin",
        "initial_input": {"content": "Write the daily report."},
        "task_params": {"folder": "reports", "pages": 3},
        "task_metadata": {"team": "x"},
    }


@asynccontextmanager
async def _session(server: Served) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=server.url) as session:
        yield session


async def _text(session: aiohttp.ClientSession, path: str) -> str:
    async with session.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()
