"""A real PostgreSQL for every test, built by the real migrations.

The server is started once per session and the migrations run once, into a template; each test gets
a database of its own, cloned from it (about 30 ms), so commits and several connections are real.
"""

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from schedules_pipeline.dev.databases import with_database
from schedules_pipeline.dev.postgres import FAST_AND_FORGETFUL, EmbeddedPostgres
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.migrate import migrate
from schedules_pipeline.store.unit_of_work import PostgresStore

TEMPLATE = "template_migrated"
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server for the session; the URL of its empty `schedules` database."""
    # Not pytest's own temporary folder: that one is closed to the user PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="schedules-tests-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home) / "postgres", options=FAST_AND_FORGETFUL)
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
def database_url(postgres_url: str, migrated_template: str) -> Iterator[str]:
    """A migrated database of the test's own (`postgresql://…`), gone after it."""
    yield from _database(postgres_url, migrated_template)


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


def _database(server_url: str, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _administer(server_url, f"create database {name} template {template}")
    yield with_database(server_url, name)
    _administer(server_url, f"drop database {name} with (force)")


def _administer(server_url: str, statement: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement.encode())
