"""The stages of the benches: the whole house and an agent, or the tables alone."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from schedules_pipeline.dev.databases import ensure_database
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.migrate import migrate
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent, start_agent
from tests.stack import Stack, start_stack


@contextmanager
def scene(**settings: Any) -> Iterator[tuple[Stack, RunningAgent]]:
    """Everything in a temporary folder; nothing is left of it afterwards."""
    with (
        workplace() as folder,
        start_agent(folder) as agent,
        start_stack(folder, **settings) as stack,
    ):
        yield stack, agent


@contextmanager
def tables() -> Iterator[PostgresStore]:
    """A server of our own with migrated, empty tables, and nothing else: durable, as in use."""
    with tables_named("schedules") as (store,):
        yield store


@contextmanager
def tables_named(*names: str) -> Iterator[list[PostgresStore]]:
    """The same several times, on one server."""
    with workplace() as folder, ExitStack() as closing:
        server = EmbeddedPostgres(folder / "postgres")
        server.start()
        closing.callback(server.stop)
        yield [closing.enter_context(_migrated(server.url_of(name))) for name in names]


@contextmanager
def _migrated(url: str) -> Iterator[PostgresStore]:
    ensure_database(url)
    migrate(with_driver(url, "psycopg"))
    with _opened(url) as store:
        yield store


@contextmanager
def ledger(stack: Stack) -> Iterator[PostgresStore]:
    """The tables of a running house."""
    with _opened(EmbeddedPostgres(stack.home / "postgres").url) as store:
        yield store


@contextmanager
def _opened(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(with_driver(url, "psycopg"), pool_size=3)
    try:
        yield store
    finally:
        store.close()


def url_of(store: PostgresStore) -> str:
    """For another process that is to speak to the same database."""
    return store._engine.url.render_as_string(hide_password=False)


@contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder that the embedded PostgreSQL's user may enter."""
    with tempfile.TemporaryDirectory(prefix="schedules-bench-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


def inputs(agent: RunningAgent) -> list[dict[str, Any]]:
    """What the agent received: at, due (seconds since the epoch), fire, schedule."""
    return [
        {
            "at": request["at"],
            "due": datetime.fromisoformat(request["task_metadata"]["fire_time"]).timestamp(),
            "fire": request["idempotency_key"],
            "schedule": request["task_metadata"]["schedule_id"],
        }
        for request in agent.received("event/send")
    ]


def sleep_until(stack: Stack, instant: float) -> None:
    """By the database's clock."""
    while (left := instant - stack.database_time()) > 0:
        time.sleep(min(left, 5))


def next_minute(stack: Stack, *, ahead: float) -> float:
    """The first full minute at least `ahead` seconds from now."""
    return ((stack.database_time() + ahead) // 60 + 1) * 60
