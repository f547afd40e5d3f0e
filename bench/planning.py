"""How many fires a second are planned, and how long that makes the claim of another schedule wait.

python -m bench planning [--schedules 20000] [--rounds 5]

Planned is first alone. The claims beside it come from a process of their own, as in use: one fire
at a time, 5 ms after the one before, of schedules that nobody plans.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from bench.filling import fill, tidy, within_reach
from bench.report import publish
from bench.scene import tables, url_of
from schedules_pipeline.services.claiming import claim
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import GRACE, RULES, an_agent, many_fires, past_slice

BUDGET_RATE = 5_000
BUDGET_WAIT_MS = 100.0
CLAIMS = 4_000
CLAIMANT = "claimant"
PAUSE_SECONDS = 0.005
QUIET_SECONDS = 2.0

Claims = list[tuple[float, float]]
"""(begun, took) of each claim, in seconds of the monotonic clock, which processes share."""


def main() -> int:
    """Measure; 1 when a budget is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--schedules", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    rounds = [measure(options.schedules) for _ in range(options.rounds)]
    rows = [*rounds, {name: _median(rounds, name) for name in rounds[0]}]
    good = rows[-1]["fires/s"] >= BUDGET_RATE and rows[-1]["longest claim ms"] <= BUDGET_WAIT_MS
    publish(
        f"Planning {options.schedules} schedules with one fire each",
        rows,
        f"Last row: medians of {options.rounds} rounds. Budgets: ≥ {BUDGET_RATE}/s, a claim of "
        f"another schedule waits ≤ {BUDGET_WAIT_MS:g} ms: {'held' if good else 'MISSED'}.",
    )
    return 0 if good else 1


def measure(schedules: int) -> dict[str, float]:
    """One round, on tables of its own: planning alone, then as much again beside the claims."""
    with tables() as store:
        agent = an_agent(store)
        key = past_slice(store)
        many_fires(store, agent, key, CLAIMS)
        begun, ended = _plan(store, agent.id, schedules, "alone")
        rate = schedules / (ended - begun)
        with _claiming(store, key) as claims:
            time.sleep(QUIET_SECONDS)
            begun, ended = _plan(store, agent.id, schedules, "beside")
    quiet = [took for at, took in claims if at + took < begun]
    busy = [took for at, took in claims if at + took >= begun and at < ended]
    return {
        "fires/s": round(rate),
        "fires/s beside claims": round(schedules / (ended - begun)),
        "claims": len(busy),
        "claim p50 ms": round(statistics.median(busy) * 1000, 1),
        "longest claim ms": round(max(busy) * 1000, 1),
        "claim p50 before ms": round(statistics.median(quiet) * 1000, 1),
        "longest claim before ms": round(max(quiet) * 1000, 1),
    }


def _plan(store: PostgresStore, agent_id: str, schedules: int, prefix: str) -> tuple[float, float]:
    """Plan so many new schedules; when that was begun and ended, by the monotonic clock."""
    fill(store, [agent_id], schedules, first=within_reach(store), every=86_400, prefix=prefix)
    tidy(store)
    begun = time.monotonic()
    planned = Planner(store, RULES).plan(lambda: False)
    ended = time.monotonic()
    assert planned.fires == schedules, f"{planned.fires} of {schedules} were planned"
    return begun, ended


def _median(rounds: list[dict[str, float]], name: str) -> float:
    return round(statistics.median(each[name] for each in rounds), 1)


@contextmanager
def _claiming(store: PostgresStore, slice_key: str) -> Iterator[Claims]:
    """Claims go on while the block runs; afterwards the list holds them."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    stop = context.Event()
    process = context.Process(target=_claim_on, args=(url_of(store), slice_key, stop, theirs))
    process.start()
    try:
        assert ours.poll(30), "the claiming process did not come up"
        ours.recv()
        claims: Claims = []
        yield claims
        stop.set()
        assert ours.poll(30), "the claiming process does not answer"
        claims += ours.recv()
    finally:
        stop.set()
        process.join(10)
        process.kill()


def _claim_on(url: str, key: str, stop: Event, answer: Connection) -> None:
    """Claim one fire after another, until told to stop or nothing is left."""
    store = PostgresStore(url, pool_size=3)
    dispatch = Dispatch(store, CLAIMANT, key)
    dispatch.begin(by_person=False)
    fires = dispatch.write(lambda tx: tx.claims.open_in(key, CLAIMANT, CLAIMS))
    answer.send("ready")
    claims: Claims = []
    for fire in fires:
        if stop.is_set():
            break
        begun = time.monotonic()
        while not dispatch.write(lambda tx, f=fire: claim(tx, [f], CLAIMANT, GRACE).claimed):  # type: ignore[misc]
            time.sleep(0.02)
        claims.append((begun, time.monotonic() - begun))
        time.sleep(PAUSE_SECONDS)
    dispatch.finish()
    answer.send(claims)
    store.close()
