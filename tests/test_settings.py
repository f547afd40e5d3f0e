"""Settings from the environment: what is not understood stops the start, by name."""

import pytest

from schedules_pipeline.errors import StartupError
from schedules_pipeline.settings import SCHEDULES_FLAG, Settings


@pytest.mark.parametrize(
    ("text", "on"),
    [("true", True), ("TRUE", True), ("1", True), ("false", False), ("False", False), ("0", False)],
)
def test_the_flag_of_schedules_is_read_as_agentex_reads_it(
    monkeypatch: pytest.MonkeyPatch, text: str, on: bool
) -> None:
    monkeypatch.setenv(SCHEDULES_FLAG, text)
    assert Settings.load().enable_agent_run_schedules is on


def test_the_flag_of_schedules_is_on_by_default_and_has_one_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCHEDULES_ENABLE_AGENT_RUN_SCHEDULES", "0")
    assert Settings.load().enable_agent_run_schedules


@pytest.mark.parametrize("text", ["", "yes", "on", "2", " true", "t"])
def test_a_flag_that_is_neither_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(SCHEDULES_FLAG, text)
    with pytest.raises(StartupError) as refused:
        Settings.load()
    assert str(refused.value) == (
        f"ENABLE_AGENT_RUN_SCHEDULES={text!r}: must be true, false, 1 or 0"
    )


def test_an_address_that_makes_no_sense_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", "mysql://user:s3cret@host/db")
    with pytest.raises(StartupError) as refused:
        Settings.load()
    assert str(refused.value) == "SCHEDULES_DATABASE_URL: must begin with postgresql://"
