"""Which databases, on which server."""

import psycopg
import pytest

from schedules_pipeline.dev.databases import (
    dagster_url,
    database_of,
    ensure_database,
    server_time,
    with_database,
    without_driver,
)
from schedules_pipeline.errors import StartupError
from schedules_pipeline.settings import Settings


def _settings(database_url: str | None, dagster: str | None = None) -> Settings:
    return Settings(database_url=database_url, dagster_url=dagster)


@pytest.mark.parametrize(
    ("ours", "dagsters"),
    [
        ("postgresql://u:p@host:5433/agents", "postgresql+psycopg2://u:p@host:5433/agents_dagster"),
        ("postgres://host/agents", "postgresql+psycopg2://host/agents_dagster"),
        (
            "postgresql+psycopg://host/a?sslmode=require",
            "postgresql+psycopg2://host/a_dagster?sslmode=require",
        ),
        (
            "postgresql://postgres@/schedules?host=/run/x",
            "postgresql+psycopg2://postgres@/schedules_dagster?host=/run/x",
        ),
        (
            "postgresql:///schedules?host=/run/x",
            "postgresql+psycopg2:///schedules_dagster?host=/run/x",
        ),
    ],
)
def test_dagster_gets_a_database_beside_ours_and_psycopg_2(ours: str, dagsters: str) -> None:
    assert dagster_url(_settings(ours)) == dagsters


def test_a_dagster_url_that_is_set_wins_and_gets_psycopg_2() -> None:
    settings = _settings("postgresql://host/agents", "postgresql://other/dagster")

    assert dagster_url(settings) == "postgresql+psycopg2://other/dagster"


def test_without_any_database_there_is_none_for_dagster() -> None:
    with pytest.raises(StartupError, match="SCHEDULES_DATABASE_URL is not set"):
        dagster_url(_settings(None))


def test_urls_are_taken_apart_and_put_together() -> None:
    assert database_of("postgresql://host/a%20b") == "a b"
    assert with_database("postgresql:///a?host=/x", "b") == "postgresql:///b?host=/x"
    assert without_driver("postgresql+psycopg2://u@/a?host=/x") == "postgresql://u@/a?host=/x"


def test_a_missing_database_is_created_once(postgres_url: str) -> None:
    url = with_database(postgres_url, 'odd-"name"')

    ensure_database(url)
    ensure_database(url)

    with psycopg.connect(url) as connection:
        row = connection.execute("select current_database()").fetchone()
    assert row == ('odd-"name"',)


def test_a_role_that_may_not_create_it_is_told_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create role guest login")
    url = with_database(postgres_url, "not_there").replace("//postgres@", "//guest@")

    with pytest.raises(StartupError) as caught:
        ensure_database(url)

    assert "Database `not_there` cannot be reached or created" in str(caught.value)
    assert "permission denied to create database" in str(caught.value)


def test_the_servers_time_has_a_zone(postgres_url: str) -> None:
    assert server_time(postgres_url).tzinfo is not None
