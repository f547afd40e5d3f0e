"""Migrations, from an empty database to the tables that the code needs."""

import threading

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.errors import StartupError, Unavailable
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store import migrate as module
from schedules_pipeline.store.database import Database
from schedules_pipeline.store.migrate import migrate
from schedules_pipeline.store.tasks import STOPPED
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.store.version import head, is_migrated
from tests.ledger import a_dispatch, a_fire, a_schedule, database_now, past_slice, query, seconds


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


def test_the_version_that_the_code_needs_is_the_one_that_alembic_ends_at() -> None:
    assert head() == ScriptDirectory.from_config(module._config()).get_current_head()


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


def test_fires_that_are_under_way_keep_the_proof_that_their_agents_gave(
    own_database_url: str,
) -> None:
    url = with_driver(own_database_url, "psycopg")
    store = PostgresStore(url, pool_size=1)
    (before,) = (
        ScriptDirectory.from_config(module._config()).get_revision("0015")._all_down_revisions
    )
    for statement in (
        "drop table events",
        "drop table messages",
        "drop index tasks_newest_first",
        "drop index tasks_by_agent",
        "alter table tasks drop column moved_at",
        "alter table tasks alter column name set not null",
        f"update alembic_version set version_num = '{before}'",
    ):
        query(store, statement)
    key = past_slice(store)
    run, schedule = a_dispatch(store, key), a_schedule(store, stopped=True)
    at = database_now(store)
    fires = [
        a_fire(store, schedule, key, at - seconds(n), FireState.TASK_CREATED, run=run)
        for n in range(3)
    ]
    query(
        store,
        """
        insert into tasks (id, name, agent_id, status_reason, created_at, updated_at)
        select task_id, id, agent_id, (array[null, null, :stopped])[n],
               task_created_at - interval '1 s',
               task_created_at + make_interval(secs => (array[1, -1, 1])[n])
        from unnest(cast(:fires as text[])) with ordinality as x (fire, n)
        join fires on id = fire
        """,
        fires=fires,
        stopped=STOPPED,
    )
    store.close()
    migrate(url)
    assert store.run(lambda tx: tx.tasks.moved_by_agents(fires)) == {fires[0]}
    store.close()
