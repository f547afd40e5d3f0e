"""One recording agent for all tests of this folder; each test tells it apart by its own fires."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedules_pipeline.dev.postgres import FAST_AND_FORGETFUL, EmbeddedPostgres
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.migrate import migrate
from tests.agents import RunningAgent, start_agent


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """A real ACP agent process; `recorder.url_for(mode)` is an agent that behaves so."""
    with start_agent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, to stop and start."""
    with tempfile.TemporaryDirectory(
        prefix="schedules-worker-", ignore_cleanup_errors=True
    ) as home:
        Path(home).chmod(0o755)
        options = {k: v for k, v in FAST_AND_FORGETFUL.items() if k == "fsync"}
        found = EmbeddedPostgres(Path(home) / "postgres", options=options)
        found.start()
        migrate(with_driver(found.url, "psycopg"))
        yield found
        found.stop()
