"""Somebody else takes every connection that PostgreSQL allows: a run waits for its own."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from schedules_pipeline.dev.postgres import FAST_AND_FORGETFUL, EmbeddedPostgres
from schedules_pipeline.errors import Unavailable
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.migrate import migrate
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.ledger import an_agent, many_fires, past_slice, states
from tests.services.working import inputs, work_slice

CONNECTIONS = 12


@pytest.fixture
def small_server() -> Iterator[str]:
    """The URL of a migrated database on a server that allows few connections."""
    with tempfile.TemporaryDirectory(prefix="schedules-tests-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)
        options = {**FAST_AND_FORGETFUL, "max_connections": str(CONNECTIONS)}
        server = EmbeddedPostgres(Path(home) / "postgres", options=options)
        url = server.start()
        migrate(with_driver(url, "psycopg"))
        yield url
        server.stop()


def take_all(url: str, held: ExitStack) -> None:
    """Until the server refuses. The process of one that was just closed may still be ending."""
    refusals = 0
    while refusals < 20:
        try:
            held.enter_context(psycopg.connect(url))
        except psycopg.OperationalError:
            refusals += 1
            time.sleep(0.01)


def test_a_run_that_finds_no_connection_waits_and_loses_nothing(
    small_server: str, recorder: RunningAgent
) -> None:
    store = PostgresStore(with_driver(small_server, "psycopg"), pool_size=1)
    key = past_slice(store)
    fires = many_fires(store, an_agent(store, recorder.url), key, 5)
    store.close()
    with ExitStack() as held:
        take_all(small_server, held)
        with pytest.raises(Unavailable, match="cannot be reached"):
            store.now()
        store.close()
        run = threading.Thread(target=work_slice, args=(small_server, key))
        run.start()
        run.join(1.0)
        assert run.is_alive(), "it waits"
        assert inputs(recorder, fires) == []
    run.join(30)
    assert not run.is_alive()
    assert sorted(i["idempotency_key"] for i in inputs(recorder, fires)) == sorted(fires)
    assert states(store) == {"delivered": 5}
    store.close()
