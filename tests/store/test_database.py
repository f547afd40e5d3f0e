"""The connections to PostgreSQL, between transactions."""

import psycopg
from sqlalchemy import text

from schedules_pipeline.store.unit_of_work import PostgresStore

END_THE_OTHERS = """
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""


def _process(store: PostgresStore) -> int:
    """The server's process behind the next transaction."""
    return int(
        store.on_connection(lambda c: c.execute(text("select pg_backend_pid()")).scalar_one())
    )


def test_connections_that_the_server_has_ended_are_replaced_before_a_transaction_begins(
    store: PostgresStore, database_url: str
) -> None:
    before = _process(store)
    with psycopg.connect(database_url, autocommit=True) as other:
        ended = other.execute(END_THE_OTHERS).fetchall()

    assert (True,) in ended
    assert _process(store) != before


def test_a_connection_of_which_nothing_is_heard_is_used_again(store: PostgresStore) -> None:
    assert _process(store) == _process(store)
