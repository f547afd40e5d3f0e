"""The command `schedules`, as a person meets it."""

import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from schedules_pipeline.cli import main
from schedules_pipeline.dev.databases import dagster_url, without_driver
from schedules_pipeline.dev.ports import free_port
from schedules_pipeline.dev.postgres import FAST_AND_FORGETFUL, EmbeddedPostgres
from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.settings import Settings, child_environment, with_driver
from schedules_pipeline.store.migrate import migrate
from schedules_pipeline.wiring import Wiring
from tests.factories import a_draft
from tests.ledger import an_agent


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in child_environment():
        if name.startswith("SCHEDULES_"):
            monkeypatch.delenv(name)


def test_help_names_every_command() -> None:
    answer = CliRunner().invoke(main, ["--help"])

    assert answer.exit_code == 0
    for command in main.commands:
        assert f"\n  {command} " in answer.output


def test_help_of_dev_names_every_option_with_its_variable() -> None:
    answer = CliRunner().invoke(main, ["dev", "--help"])

    for word in ("--api-port", "--ui-port", "--home", "--demo / --no-demo"):
        assert word in answer.output
    for name in ("API_PORT", "UI_PORT", "HOME", "DEMO", "DATABASE_URL"):
        assert f"SCHEDULES_{name}" in answer.output


def test_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == "schedules, version 0.1.0\n"


def test_the_command_line_itself_imports_nothing_slow() -> None:
    question = (
        "import schedules_pipeline.cli, sys;"
        "print({'dagster', 'fastapi', 'sqlalchemy', 'pydantic', 'httpx'} & set(sys.modules))"
    )

    answer = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=True
    )

    assert answer.stdout == "set()\n"


@pytest.mark.parametrize("command", ["migrate", "serve"])
def test_without_a_database_it_says_what_to_set(command: str) -> None:
    answer = CliRunner().invoke(main, [command])

    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr == (
        "schedules: SCHEDULES_DATABASE_URL is not set. Set it to a PostgreSQL >= 14, or use "
        "`schedules dev`, which brings one of its own.\n"
    )


def test_a_setting_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULES_API_PORT", "eighty")

    answer = CliRunner().invoke(main, ["migrate"])

    assert answer.exit_code == 1
    assert answer.stderr.startswith("schedules: SCHEDULES_API_PORT='eighty': Input should be")


def test_a_port_out_of_range_is_refused_by_the_option() -> None:
    answer = CliRunner().invoke(main, ["dev", "--api-port", "65536"])

    assert answer.exit_code == 2
    assert "65536 is not in the range 0<=x<=65535" in answer.stderr


def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    answer = CliRunner().invoke(main, ["dev", "--home", str(tmp_path / "file" / "home")])

    assert answer.exit_code == 1
    assert answer.stderr == (
        f"schedules: {tmp_path}/file/home cannot be used as the home (Not a directory):"
        " set SCHEDULES_HOME.\n"
    )


def test_migrate_makes_both_databases_and_can_be_repeated(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_url.replace("/schedules?", "/cli_made?")
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", url)

    for _ in range(2):
        answer = CliRunner().invoke(main, ["migrate"])
        assert answer.output == "The tables are up to date.\n"

    with psycopg.connect(url) as connection:
        connection.execute("select count(*) from fires")
    dagsters = without_driver(dagster_url(Settings.load()))
    assert "/cli_made_dagster?" in dagsters
    psycopg.connect(dagsters).close()


def test_migrate_says_in_one_line_that_the_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/mine"
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", url)

    answer = CliRunner().invoke(main, ["migrate"])

    assert answer.exit_code == 1
    assert answer.stderr.startswith("schedules: Database `mine` cannot be reached or created: ")
    assert "Connection refused" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert "secret" not in answer.stderr


@pytest.mark.parametrize("command", ["serve", "dev"])
@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "example.org"])
def test_the_api_refuses_to_listen_where_strangers_can_reach_it(
    command: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("SCHEDULES_API_HOST", host)

    answer = CliRunner().invoke(main, [command])

    assert answer.exit_code == 1
    assert answer.output == (
        f"schedules: SCHEDULES_API_HOST={host} can be reached from outside, and with "
        "SCHEDULES_AUTH=none the API asks nobody who they are. Set SCHEDULES_AUTH=api_key "
        "(keys: `schedules keys create`) or agentex, or let it listen on 127.0.0.1.\n"
    )


def test_the_agentex_mode_needs_to_know_whom_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULES_AUTH", "agentex")

    answer = CliRunner().invoke(main, ["serve"])

    assert answer.exit_code == 1
    assert answer.stderr == (
        "schedules: SCHEDULES_AUTH=agentex needs SCHEDULES_AUTH_URL, the provider's origin\n"
    )


def test_without_a_named_database_it_is_that_of_the_house_that_runs_in_the_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not pytest's own temporary folder: that one is closed to the user PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="schedules-home-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)
        monkeypatch.setenv("SCHEDULES_HOME", home)
        server = EmbeddedPostgres(Path(home) / "postgres", options=FAST_AND_FORGETFUL)
        migrate(with_driver(server.start(), "psycopg"))
        made = CliRunner().invoke(main, ["keys", "create", "--principal", "ci", "--role", "admin"])
        server.stop()
        late = CliRunner().invoke(main, ["keys", "list"])

    assert made.exit_code == 0
    assert "of ci (admin)" in made.stderr
    assert late.exit_code == 1
    assert late.stderr.startswith("schedules: SCHEDULES_DATABASE_URL is not set.")


def test_a_key_is_made_shown_once_listed_and_revoked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", database_url)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["keys", *words])

    made = run("create", "--principal", "ci", "--role", "editor", "--expires", "2090-01-01T00:00Z")
    key = made.stdout.strip()
    key_id, secret = key.split("_", 2)[1:]

    assert made.exit_code == 0
    assert made.stderr == f"Key {key_id} of ci (editor), shown only now:\n"
    head, row = run("list").stdout.splitlines()
    assert head.split() == [
        "id", "principal", "role", "created", "expires", "revoked", "last", "used",
    ]  # fmt: skip
    assert row.startswith(f"{key_id}  ci         editor  20")
    assert row.endswith("  2090-01-01 00:00:00Z  -        -")
    assert secret not in row

    assert run("revoke", key_id).stdout == "Revoked.\n"
    assert run("list").stdout.splitlines()[1] != row
    assert run("revoke", "--principal", "ci").stdout == "Revoked.\n"
    refused = run("create", "--principal", "ci")
    assert refused.exit_code == 1
    assert refused.stderr == "schedules: Principal 'ci' was revoked, for good: name another.\n"


@pytest.mark.parametrize("words", [[], ["some-id", "--principal", "ci"]])
def test_what_is_revoked_is_a_key_or_a_principal(words: list[str]) -> None:
    answer = CliRunner().invoke(main, ["keys", "revoke", *words])

    assert answer.exit_code == 2
    assert "Name either a key's id or --principal." in answer.stderr


def test_audit_accounts_for_every_occurrence_and_fails_on_a_hole(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", database_url)
    wiring = Wiring(Settings(database_url=database_url))
    agent = an_agent(wiring.store)
    draft = a_draft(cadence=Cadence(interval_seconds=10))
    schedule = wiring.schedules.create(agent.id, draft, {}).schedule
    ahead = (wiring.store.now() + timedelta(minutes=5)).isoformat()
    words = ["audit", agent.id, schedule.id, "--to", ahead]

    answer = CliRunner().invoke(main, words)

    assert answer.exit_code == 0, answer.output
    assert "Z  planned\n" in answer.output
    assert "Z  upcoming\n" in answer.output
    assert ", 0 holes; of all schedules, " in answer.output
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from fires")
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 1
    assert "HOLE at " in answer.output
    wiring.close()
