"""How late is an input at the agent, by a slice's worker alone? No Dagster, no other run starting.

python -m bench worker
"""

from datetime import datetime
from typing import Any

from bench.report import lateness, publish
from bench.scene import tables, url_of, workplace
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent, start_agent
from tests.ledger import a_schedule, an_agent, database_now, fire_row, insert_rows, past_slice
from tests.ledger import seconds as a_span
from tests.services.working import work_slice

CASES = ((10, 50), (20, 150), (100, 150))  # (fires at one instant, budget p99 ms)
INSTANTS = 12
APART = a_span(3)  # longer than idle connections are kept
ROOM = a_span(5)


def main() -> int:
    """Run every case, each on a database of its own; 1 when a budget is missed."""
    rows = [_measure(fires, budget) for fires, budget in CASES]
    publish("Lateness at the agent, one worker alone", rows, "Two HTTP calls per fire.")
    faults = sum(row["lost"] + row["doubled"] + row["early"] for row in rows)
    return 1 if faults or any(not row["p99 / budget"] <= 1 for row in rows) else 0


def _measure(fires: int, budget: int) -> dict[str, Any]:
    with workplace() as folder, tables() as store, start_agent(folder) as agent:
        key = past_slice(store)
        due = _plan(store, agent, key, fires)
        work_slice(url_of(store), key, request_timeout_seconds=30)
        found = agent.received("event/send")
    late = [each["at"] - due[each["idempotency_key"]].timestamp() for each in found]
    measured = lateness(late)
    return {
        "fires at one instant": fires,
        "fires": len(due),
        "lost": len(due) - len({each["idempotency_key"] for each in found}),
        "doubled": len(found) - len({each["idempotency_key"] for each in found}),
        "early": sum(each < 0 for each in late),
        **measured,
        "budget p99": budget,
        "p99 / budget": round(measured["p99_ms"] / budget, 2),
    }


def _plan(store: PostgresStore, agent: RunningAgent, key: str, fires: int) -> dict[str, datetime]:
    """`fires` schedules, due together again and again; returns due times by idempotency key."""
    owner = an_agent(store, agent.url)
    schedules = [a_schedule(store, owner, stopped=True) for _ in range(fires)]
    first = database_now(store).replace(microsecond=0) + ROOM
    rows = [
        fire_row(schedule, key, first + number * APART)
        for number in range(INSTANTS)
        for schedule in schedules
    ]
    insert_rows(store, "fires", rows)
    return {str(row["id"]): row["due_at"] for row in rows}
