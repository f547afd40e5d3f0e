"""Which parts there are, and what they are told."""

from pathlib import Path

import pytest

from schedules_pipeline.dev import parts
from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.parts import DAEMON, RUN_PARENT, Part, all_parts
from schedules_pipeline.settings import Settings


def _parts(home: Home, *, warm_runs: bool) -> dict[str, Part]:
    settings = Settings(database_url="postgresql://127.0.0.1/none", warm_runs=warm_runs)
    return {part.name: part for part in all_parts(settings, home, None, {})}


def test_a_warm_house_has_a_run_parent_and_every_part_knows_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "HAS_PROC", True)
    home = Home.make(tmp_path)
    found = _parts(home, warm_runs=True)

    assert found[RUN_PARENT].command[-1] == str(home.warm_socket)
    told = {part.environment["SCHEDULES_WARM_SOCKET"] for part in found.values()}
    assert told == {str(home.warm_socket)}


@pytest.mark.parametrize(("warm_runs", "can_fork"), [(False, True), (True, False)])
def test_switched_off_or_where_a_fork_is_not_to_be_trusted_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_runs: bool, can_fork: bool
) -> None:
    monkeypatch.setattr(parts, "HAS_PROC", can_fork)
    # Of another house, whose run parent is not ours.
    monkeypatch.setenv("SCHEDULES_WARM_SOCKET", "/elsewhere/warm.sock")
    found = _parts(Home.make(tmp_path), warm_runs=warm_runs)

    assert RUN_PARENT not in found
    assert {part.environment["SCHEDULES_WARM_SOCKET"] for part in found.values()} == {""}


def test_an_empty_socket_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULES_WARM_SOCKET", "")

    assert Settings.load().warm_socket is None


def test_the_daemon_is_the_one_that_looks_for_backfills_every_few_seconds(tmp_path: Path) -> None:
    command = _parts(Home.make(tmp_path), warm_runs=True)[DAEMON].command

    assert command[1:4] == ("-m", "schedules_pipeline.launcher.daemon", "run")
