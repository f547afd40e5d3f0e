"""News by NOTIFY: who hears what, and when."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Connection

from schedules_pipeline.services.news_port import EVERYWHERE
from schedules_pipeline.store.news import TOLD_BY_NAME, PostgresEar, tell
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import query

AT_ONCE = 5.0
"""Longer than any news takes; less than a test may last."""


@pytest.fixture
def ear(store: PostgresStore) -> Iterator[PostgresEar]:
    """One that is open."""
    with closing(store.ear()) as found:
        assert found.open()
        yield found


def test_news_are_heard_when_their_transaction_is_committed_and_not_before(
    store: PostgresStore, ear: PostgresEar
) -> None:
    with store.transaction() as connection:
        tell(connection, ["a", "b"])
        assert ear.wait(0.1) == set()
    assert ear.wait(AT_ONCE) == {"a", "b"}
    assert ear.read() == set()


def test_what_was_rolled_back_is_not_told(store: PostgresStore, ear: PostgresEar) -> None:
    def fail(connection: Connection) -> None:
        tell(connection, ["a"])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.on_connection(fail)
    assert ear.wait(0.1) == set()


def test_news_of_many_slices_at_once_are_for_everybody(
    store: PostgresStore, ear: PostgresEar
) -> None:
    keys = [str(n) for n in range(TOLD_BY_NAME + 1)]
    store.on_connection(lambda connection: tell(connection, keys))
    assert ear.wait(AT_ONCE) == {EVERYWHERE}


def test_an_ear_whose_connection_is_lost_says_so_once_and_can_be_opened_again(
    store: PostgresStore, ear: PostgresEar
) -> None:
    query(
        store,
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'schedules, listening'",
    )
    # The server's farewell first, then the end of the connection.
    assert (ear.wait(AT_ONCE) or ear.wait(AT_ONCE)) == {EVERYWHERE}
    assert ear.read() == set()
    assert ear.open()
    store.on_connection(lambda connection: tell(connection, ["a"]))
    assert ear.wait(AT_ONCE) == {"a"}


def test_an_ear_that_finds_no_database_only_waits() -> None:
    ear = PostgresEar("postgresql://127.0.0.1:9/nowhere")
    assert not ear.open()
    assert ear.wait(0.01) == set()
    ear.close()
