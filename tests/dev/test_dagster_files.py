"""dagster.yaml and workspace.yaml, read by the real Dagster on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.scheduler.instigation import TickStatus
from dagster_shared.yaml_utils import load_yaml_from_path

from schedules_pipeline.dev import home as home_module
from schedules_pipeline.dev.home import Home
from schedules_pipeline.launcher.warm import WarmRunLauncher
from schedules_pipeline.settings import with_driver

ROOT = Path(__file__).parents[2]


@pytest.fixture
def instance(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DagsterInstance]:
    home = Home.make(tmp_path / "home")
    home.write_dagster_files()
    monkeypatch.setenv("SCHEDULES_DAGSTER_URL", with_driver(empty_database_url, "psycopg2"))
    with DagsterInstance.from_config(str(home.dagster)) as opened:
        yield opened


def test_the_file_of_make_dev_is_the_one_for_plain_users() -> None:
    ours = Path(home_module.__file__).with_name("dagster.yaml")

    assert ours.read_text() == (ROOT / "dagster.yaml").read_text()


def test_everything_is_kept_in_postgres(instance: DagsterInstance) -> None:
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)

    assert [type(storage).__name__ for storage in storages if storage] == [
        "PostgresRunStorage",
        "PostgresEventLogStorage",
        "PostgresScheduleStorage",
    ]


def test_what_the_design_asks_for_is_set(instance: DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, DefaultRunCoordinator)
    assert isinstance(instance.run_launcher, WarmRunLauncher)
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert not instance.run_retries_enabled
    assert instance.get_settings("backfills") == {"use_threads": True, "num_submit_workers": 2}
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    kept = instance.get_tick_retention_settings(InstigatorType.SENSOR)
    assert kept == {
        TickStatus.SKIPPED: 1,
        TickStatus.SUCCESS: 14,
        TickStatus.FAILURE: 14,
        TickStatus.STARTED: 14,
    }


def test_both_workspaces_name_the_same_location(tmp_path: Path) -> None:
    home = Home.make(tmp_path / "home")
    home.write_dagster_files()

    assert load_yaml_from_path(str(home.workspace)) == {
        "load_from": [
            {
                "grpc_server": {
                    "socket": str(home.code_socket),
                    "location_name": "schedules_pipeline",
                }
            }
        ]
    }
    assert load_yaml_from_path(str(ROOT / "workspace.yaml")) == {
        "load_from": [
            {
                "python_module": {
                    "module_name": "schedules_pipeline.definitions",
                    "location_name": "schedules_pipeline",
                }
            }
        ]
    }


@pytest.mark.parametrize("name", ["x" * 120, "with blank", "per%20cent"])
def test_a_home_whose_path_no_socket_can_have_gets_one_elsewhere(tmp_path: Path, name: str) -> None:
    home = Home.make(tmp_path / name)
    home.write_dagster_files()

    assert home.code_socket.parent != home.run
    assert home.code_socket.parent.stat().st_mode & 0o077 == 0
    home.remove_short_directory()
    assert not home.code_socket.parent.exists()
