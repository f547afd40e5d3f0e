"""Dagster in the test's process: an instance of its own, a job and a sensor on a real ledger."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from schedules_pipeline.dev.home import Home
from schedules_pipeline.settings import Settings, with_driver
from schedules_pipeline.wiring import Wiring
from tests.agents import RunningAgent, start_agent


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """A real ACP agent process."""
    with start_agent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture
def wiring(database_url: str) -> Iterator[Wiring]:
    settings = Settings(
        database_url=database_url,
        retry_wait_seconds=0.01,
        request_timeout_seconds=0.3,
        tick_wait_seconds=0,
        standby=False,
    )
    found = Wiring(settings, pool_size=3)
    yield found
    found.close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def house(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster as `make dev` configures it, on a PostgreSQL database of the test's own."""
    home = Home.make(tmp_path / "home")
    home.write_dagster_files()
    monkeypatch.setenv("SCHEDULES_DAGSTER_URL", with_driver(empty_database_url, "psycopg2"))
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    with dg.DagsterInstance.get() as found:
        yield found
