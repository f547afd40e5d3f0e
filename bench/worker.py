"""How late is an input at the agent, by a slice's worker alone? No Dagster, no other run starting.

python -m bench worker
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.report import lateness, publish
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.migrate import migrate
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent, start_agent
from tests.ledger import a_schedule, an_agent, database_now, fire_row, insert_rows, past_slice
from tests.ledger import seconds as a_span
from tests.services.working import work_slice

CASES = ((10, 50), (20, 150), (100, 150))  # (fires at one instant, budget p99 ms)
INSTANTS = 12
APART = a_span(3)  # longer than idle connections are kept
ROOM = a_span(5)


def main() -> None:
    """Run every case, one after another, each on a database of its own."""
    rows = [_measure(fires, budget) for fires, budget in CASES]
    publish("Lateness at the agent, one worker alone", rows, "Two HTTP calls per fire.")


def _measure(fires: int, budget: int) -> dict[str, Any]:
    with _stage() as (url, store, agent):
        key = past_slice(store)
        due = _plan(store, agent, key, fires)
        work_slice(url, key, request_timeout_seconds=30)
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


@contextmanager
def _stage() -> Iterator[tuple[str, PostgresStore, RunningAgent]]:
    """A server with its tables, and an agent in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="schedules-bench-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "postgres")
        url = server.start()
        try:
            migrate(with_driver(url, "psycopg"))
            store = PostgresStore(with_driver(url, "psycopg"), pool_size=3)
            with start_agent(folder) as agent:
                yield url, store, agent
            store.close()
        finally:
            server.stop()


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


if __name__ == "__main__":
    main()
