"""What the launcher relies on in Dagster, which promises none of it: an upgrade may fail here.

If one of these fails: read what changed at that place, and the modules of `launcher/` beside it.
"""

import inspect
import json
import logging
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import cast

import dagster
import pytest
from dagster._cli import api
from dagster._core.launcher.base import RunLauncher
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._daemon import backfill, controller
from dagster._grpc.types import ExecuteRunArgs
from dagster._utils.interrupts import capture_interrupts

from schedules_pipeline.launcher import daemon
from schedules_pipeline.launcher.handover import WORKER_TAG
from schedules_pipeline.launcher.identity import HAS_PROC
from schedules_pipeline.launcher.warm import WarmRunLauncher
from tests.launcher.stage import Parent, Stage


def test_dagster_is_pinned_to_the_version_that_is_installed() -> None:
    pinned = [line for line in requires("schedules-pipeline") or () if line.startswith("dagster==")]

    assert pinned == [f"dagster=={version('dagster')}"]


def test_a_process_is_given_its_run_as_before() -> None:
    body = inspect.signature(api._execute_run_command_body)
    told = inspect.signature(ExecuteRunArgs)

    assert list(body.parameters) == [
        *("run_id", "instance", "write_stream_fn", "set_exit_code_on_failure"),
    ]
    assert list(told.parameters) == [
        *("job_origin", "run_id", "instance_ref", "set_exit_code_on_failure"),
    ]


def test_dagsters_own_command_does_with_a_run_what_a_forked_process_does() -> None:
    source = inspect.getsource(api.execute_run_command.callback)  # type: ignore[arg-type]

    steps = [
        "with capture_interrupts():",
        "deserialize_value(normalized_input_json, ExecuteRunArgs)",
        "with get_instance_for_cli(instance_ref=args.instance_ref) as instance:",
        "_execute_run_command_body(",
    ]
    places = [source.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)
    assert inspect.isgeneratorfunction(inspect.unwrap(capture_interrupts))


def test_every_method_that_the_launcher_replaces_is_one_that_dagster_calls() -> None:
    for name in (
        *("launch_run", "terminate", "supports_check_run_worker_health"),
        "check_run_worker_health",
    ):
        assert hasattr(RunLauncher, name)
        assert name in vars(WarmRunLauncher)
    for name in ("launch_run", "terminate"):
        ours, theirs = (
            list(inspect.signature(getattr(launcher, name)).parameters)
            for launcher in (WarmRunLauncher, DefaultRunLauncher)
        )
        assert ours == theirs


def test_its_tag_is_one_of_those_that_the_ui_hides() -> None:
    assert WORKER_TAG.startswith(HIDDEN_TAG_PREFIX)


class _Shutdown(Event):
    """Notes how long the loop means to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        return True


def test_between_two_looks_for_backfills_pass_the_seconds_that_the_daemon_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controller, "DEFAULT_DAEMON_INTERVAL_SECONDS", 30)
    monkeypatch.setattr(daemon, "main", lambda: None)
    nothing_asked = SimpleNamespace(instance=SimpleNamespace(get_backfills=lambda filters: []))
    shutdown = _Shutdown()

    daemon.run()
    looking = backfill.execute_backfill_iteration_loop(
        cast(IWorkspaceProcessContext, nothing_asked), logging.getLogger(), shutdown
    )
    while not shutdown.waits:
        next(looking)

    assert daemon.BACKFILL_LOOK_SECONDS - 1 < shutdown.waits[0] <= daemon.BACKFILL_LOOK_SECONDS


def test_the_seconds_between_two_looks_for_backfills_are_nothing_elses() -> None:
    package = Path(inspect.getfile(dagster)).parent
    name = "DEFAULT_DAEMON_INTERVAL_SECONDS"

    users = [path for path in package.rglob("*.py") if name in path.read_text()]

    assert sorted(path.name for path in users) == ["backfill.py", "controller.py"]
    # Twice: where it stands, and for an asset daemon that was not told its own.
    assert inspect.getsource(controller).count(name) == 2


@pytest.mark.skipif(not HAS_PROC, reason="runs are forked on Linux only")
def test_a_forked_run_imports_nothing_that_its_parent_could_have_imported(
    stage: Stage, parent: Parent
) -> None:
    program = (
        "import json, sys\n"
        "from schedules_pipeline.launcher import parent\n"
        "from schedules_pipeline.launcher.importing import import_everything\n"
        "import_everything(-1)\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    ahead = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    run = stage.launch("telling")
    late = set(stage.began(run)["modules"]) - set(json.loads(ahead.stdout))

    assert stage.end_of(run) == "SUCCESS"
    # The parent of the test was started with `-m`.
    assert {name for name in late if not name.startswith("tests")} == {"runpy"}
