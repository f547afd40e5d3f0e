"""A real PostgreSQL for every test, built by the real migrations.

The server is started once per session and the migrations run once, into a template. A test has a
database for itself: commits and several connections are real. It is emptied afterwards (10 ms),
for a clone of the template costs some 250 ms; what changes the tables themselves takes a clone.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
import uvloop
from hypothesis import settings

from schedules_pipeline.dev.databases import with_database
from schedules_pipeline.dev.postgres import FAST_AND_FORGETFUL, EmbeddedPostgres
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.migrate import migrate
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent, start_agent
from tests.provider import StubProvider, running_provider

TEMPLATE = "template_migrated"

# The gate's examples are the same each time; whoever asks for more of them gets others, too. No
# deadline: a busy machine is no defect.
settings.register_profile(
    "house", deadline=None, derandomize=int(os.environ.get("SCHEDULES_TEST_EXAMPLES", "100")) <= 100
)
settings.load_profile("house")

# What tests run in a loop of their own is run in production's, too: in a Dagster run
# (services.dispatching), and in the API, where uvicorn takes it when it is there.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

# A clone writes some 8 MiB of WAL; a checkpoint in its midst costs more than the clone.
CHEAP_CLONES = {
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server for the session; the URL of its empty `schedules` database."""
    # Not pytest's own temporary folder: that one is closed to the user PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="schedules-tests-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)
        options = {**FAST_AND_FORGETFUL, **CHEAP_CLONES}
        server = EmbeddedPostgres(Path(home) / "postgres", options=options)
        yield server.start()
        server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres_url: str) -> str:
    """The name of a database that the migrations built; nobody is connected to it."""
    _administer(postgres_url, f"create database {TEMPLATE}")
    migrate(with_driver(with_database(postgres_url, TEMPLATE), "psycopg"))
    return TEMPLATE


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database without any table, gone after the test."""
    yield from _database(postgres_url, "template0")


@pytest.fixture
def own_database_url(postgres_url: str, migrated_template: str) -> Iterator[str]:
    """A migrated database for a test that changes its tables; gone after it."""
    yield from _database(postgres_url, migrated_template)


@pytest.fixture(scope="session")
def shared_database_url(postgres_url: str, migrated_template: str) -> Iterator[str]:
    """The database that tests have one after another. Ask for `database_url`."""
    yield from _database(postgres_url, migrated_template)


@pytest.fixture
def database_url(shared_database_url: str) -> Iterator[str]:
    """A migrated, empty database of the test's own (`postgresql://…`), emptied after it."""
    yield shared_database_url
    _empty(shared_database_url)


@pytest.fixture(scope="module")
def module_database_url(postgres_url: str, migrated_template: str) -> Iterator[str]:
    """The same for all tests of a module: for those that write nothing that others would see."""
    yield from _database(postgres_url, migrated_template)


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresStore]:
    """The store on the test's own database."""
    opened = PostgresStore(with_driver(database_url, "psycopg"), pool_size=10)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A house's. Not pytest's own folder: PostgreSQL runs as another user when we are root."""
    with tempfile.TemporaryDirectory(prefix="schedules-e2e-", ignore_cleanup_errors=True) as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def agent(folder: Path) -> Iterator[RunningAgent]:
    """One process that is every agent of a module's end-to-end tests."""
    with start_agent(folder) as running:
        yield running


@pytest.fixture
def provider() -> Iterator[StubProvider]:
    """An authorization provider that knows nobody yet."""
    with running_provider() as stub:
        yield stub


def _database(server_url: str, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _administer(server_url, f"create database {name} template {template}")
    yield with_database(server_url, name)
    _administer(server_url, f"drop database {name} with (force)")


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        # Whoever a failed test left connected may hold locks.
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        tables = connection.execute(
            "select tablename from pg_tables "
            "where schemaname = 'public' and tablename <> 'alembic_version'"
        ).fetchall()
        # As a replica: no trigger speaks (the history is append-only), no foreign key is asked.
        emptying = [f"delete from {table};" for (table,) in tables]
        connection.execute("".join(["set session_replication_role = replica;", *emptying]).encode())


def _administer(server_url: str, statement: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement.encode())
