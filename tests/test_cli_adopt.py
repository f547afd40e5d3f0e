"""`schedules keys adopt`: whose schedules fire once keys are asked for."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from schedules_pipeline import cli
from schedules_pipeline.cli import main
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.settings import Auth, Settings
from schedules_pipeline.store.unit_of_work import PostgresStore
from schedules_pipeline.wiring import Wiring
from tests.ledger import a_schedule, one


@pytest.fixture
def wiring(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", database_url)
    monkeypatch.setenv("SCHEDULES_AUTH", "api_key")
    wiring = Wiring(Settings.load(), pool_size=1)
    yield wiring
    wiring.close()


def keys(*words: str) -> str:
    answer = CliRunner().invoke(main, ["keys", *words])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def creator(store: PostgresStore, schedule: Schedule) -> object:
    found = "select creator_principal->>'user_id' from agent_run_schedules where id = :id"
    return one(store, found, id=schedule.id)


def test_schedules_without_a_creator_and_of_one_that_left_find_a_new_one(
    store: PostgresStore, wiring: Wiring
) -> None:
    schedule = a_schedule(store)
    for name in ("ops", "heirs"):
        keys("create", "--principal", name, "--role", "editor")
    assert keys("adopt", "--principal", "ops") == "Adopted by ops: 1.\n"
    assert creator(store, schedule) == "ops"
    keys("revoke", "--principal", "ops")
    assert keys("adopt", "--principal", "heirs", "--from", "ops") == "Adopted by heirs: 1.\n"
    assert creator(store, schedule) == "heirs"


def test_who_may_start_nothing_is_refused_in_one_line(wiring: Wiring) -> None:
    answer = CliRunner().invoke(main, ["keys", "adopt", "--principal", "nobody"])
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == (
        "schedules: Principal 'nobody' may not start tasks: it must be an editor or admin with a "
        "valid key (`schedules keys create`).\n"
    )


def test_whoever_starts_the_api_is_told_of_schedules_that_do_not_fire(
    store: PostgresStore, wiring: Wiring, capsys: pytest.CaptureFixture[str]
) -> None:
    cli._warn_of_ownerless(wiring)
    assert capsys.readouterr().err == ""
    a_schedule(store)
    cli._warn_of_ownerless(wiring)
    said = capsys.readouterr().err
    assert said.startswith("schedules: Schedules without a creator, which do not fire: 1. They")
    open_to_all = Wiring(wiring.settings.model_copy(update={"auth": Auth.NONE}), pool_size=1)
    cli._warn_of_ownerless(open_to_all)
    assert capsys.readouterr().err == ""


def test_a_database_that_is_away_keeps_nobody_from_starting_the_api() -> None:
    away = Settings(
        database_url="postgresql://nobody@127.0.0.1:9/none",
        auth=Auth.API_KEY,
    )
    cli._warn_of_ownerless(Wiring(away))
