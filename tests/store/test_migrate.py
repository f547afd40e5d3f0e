"""Migrations, from an empty database to the tables that the code needs."""

import threading

import pytest
from sqlalchemy import create_engine

from schedules_pipeline.errors import StartupError, Unavailable
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store import migrate as module
from schedules_pipeline.store.database import Database
from schedules_pipeline.store.migrate import is_migrated, migrate


def migrated(url: str) -> bool:
    database = Database(url, pool_size=1)
    try:
        return database.on_connection(is_migrated)
    finally:
        database.close()


def test_an_empty_database_is_not_ready_until_it_is_migrated(empty_database_url: str) -> None:
    url = with_driver(empty_database_url, "psycopg")

    assert not migrated(url)
    migrate(url)
    assert migrated(url)
    migrate(url)
    assert migrated(url)


def test_two_at_once_wait_for_each_other(empty_database_url: str) -> None:
    url = with_driver(empty_database_url, "psycopg")
    both = [threading.Thread(target=migrate, args=(url,)) for _ in range(2)]

    for each in both:
        each.start()
    for each in both:
        each.join()

    assert migrated(url)


def test_a_database_that_is_too_old_is_refused_before_anything_is_made(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OLDEST_POSTGRES", 99)
    url = with_driver(empty_database_url, "psycopg")

    with pytest.raises(StartupError, match=r"is PostgreSQL \d+; 99 or newer is needed\. Upgrade"):
        migrate(url)

    engine = create_engine(url)
    with engine.connect() as connection:
        assert not engine.dialect.has_table(connection, "alembic_version")
    engine.dispose()


def test_a_database_that_is_away_is_said_to_be() -> None:
    with pytest.raises(Unavailable, match="The database cannot be reached"):
        migrate("postgresql+psycopg://nobody@127.0.0.1:9/none")
