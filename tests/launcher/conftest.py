"""One instance for all, and a run parent; each test that asks for one finds one that listens."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from schedules_pipeline.dev.databases import with_database
from schedules_pipeline.dev.home import Home
from schedules_pipeline.settings import with_driver
from tests.launcher.stage import Parent, Stage, start_parent


@pytest.fixture(scope="package")
def stage(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The files of `make dev`, read by the real Dagster."""
    folder = tmp_path_factory.mktemp("launcher")
    home = Home.make(folder / "home")
    home.write_dagster_files()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create database launcher")
    url = with_database(postgres_url, "launcher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEDULES_DAGSTER_URL", with_driver(url, "psycopg2"))
        patch.setenv("SCHEDULES_DATABASE_URL", url)
        patch.setenv("SCHEDULES_WARM_SOCKET", str(home.warm_socket))
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            yield Stage(instance, folder, home.warm_socket)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database launcher with (force)")


@pytest.fixture(scope="package")
def parents(stage: Stage) -> Iterator[list[Parent]]:
    """Those that were started, the newest last."""
    started: list[Parent] = []
    yield started
    for parent in started:
        parent.kill()


@pytest.fixture
def parent(stage: Stage, parents: list[Parent]) -> Parent:
    """A run parent that listens; another when the last one was killed."""
    if not parents or parents[-1].process.poll() is not None:
        parents.append(start_parent(stage.socket, stage.folder))
    return parents[-1]


@pytest.fixture
def no_parent(stage: Stage, parents: list[Parent]) -> Path:
    """Nobody listens."""
    for parent in parents:
        parent.kill()
    stage.socket.unlink(missing_ok=True)
    return stage.socket
