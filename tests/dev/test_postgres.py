"""The embedded PostgreSQL, for real: started, stopped, killed, and started again."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from schedules_pipeline.dev.postgres import FAST_AND_FORGETFUL, EmbeddedPostgres
from schedules_pipeline.errors import StartupError
from schedules_pipeline.launcher.identity import identify


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", options=FAST_AND_FORGETFUL)
    yield server
    server.stop()


def _ask(url: str, question: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(question).fetchone()
    return row[0] if row else None


def _run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_it_serves_a_database_of_our_name_to_two_hundred(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()

    assert _ask(url, "select current_database()") == "schedules"
    assert _ask(url, "select current_setting('max_connections')") == "200"
    assert _ask(url, "select current_setting('listen_addresses')") == ""
    assert _ask(url, "select current_setting('server_encoding')") == "UTF8"
    assert _ask(url, "select upper('ä')") == "Ä"


def test_what_was_written_is_there_after_a_restart(postgres: EmbeddedPostgres) -> None:
    _run(postgres.start(), "create table kept as select 7 as n")
    postgres.stop()

    assert _ask(postgres.start(), "select n from kept") == 7


def test_stopping_leaves_no_process_and_cuts_clients_off(postgres: EmbeddedPostgres) -> None:
    connection = psycopg.connect(postgres.start())
    server = postgres.running()
    assert server is not None

    began = time.monotonic()
    postgres.stop()

    assert time.monotonic() - began < 5
    assert not server.is_alive()
    assert postgres.running() is None
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    connection.close()


def test_after_kill_minus_nine_it_starts_again_over_the_stale_pid_file(
    tmp_path: Path,
) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    _run(postgres.start(), "create table kept as select 7 as n")
    server = postgres.running()
    assert server is not None
    server.kill(signal.SIGKILL)
    postgres.stop()

    assert (postgres.directory / "postmaster.pid").exists()
    assert _ask(postgres.start(), "select n from kept") == 7
    postgres.stop()


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_stop_it(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.start()
    postgres.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (postgres.directory / "postmaster.pid").write_text(
            f"{stranger.pid}\n{postgres.directory}\n1\n5432\n{postgres.directory}\n\n1 1\nready\n"
        )

        postgres.start()

        assert stranger.poll() is None
        stranger.kill()


def test_a_second_server_on_the_folder_of_a_live_one_is_refused(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    server = postgres.running()
    assert server is not None
    second = EmbeddedPostgres(postgres.directory)

    with pytest.raises(StartupError) as caught:
        second.start()

    assert str(caught.value) == (
        f"A PostgreSQL server (pid {server.pid}) already runs on {postgres.directory}."
    )
    assert _ask(url, "select 1") == 1


def test_a_left_over_server_is_stopped(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    server = postgres.running()
    assert server is not None

    assert EmbeddedPostgres(postgres.directory).stop_leftover()

    assert not server.is_alive() or identify(server.pid) is None
    assert not EmbeddedPostgres(postgres.directory).stop_leftover()


def test_a_folder_too_deep_for_a_socket_gets_a_short_one_beside(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "postgres"
    server = EmbeddedPostgres(deep, options=FAST_AND_FORGETFUL)
    try:
        url = server.start()

        assert len(str(server.socket_directory)) < 90
        assert _ask(url, "select current_setting('data_directory')") == str(deep)
    finally:
        server.stop()
    assert not server.socket_directory.exists()


def test_a_folder_name_with_blanks_and_percent_signs_works(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "a b%20c" / "postgres", options=FAST_AND_FORGETFUL)
    try:
        assert _ask(server.start(), "select 1") == 1
    finally:
        server.stop()


def test_a_folder_of_another_version_is_named_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "PG_VERSION").write_text("16\n")

    with pytest.raises(StartupError, match="was made by PostgreSQL 16, this is 18"):
        EmbeddedPostgres(folder).start()

    assert [entry.name for entry in folder.iterdir()] == ["PG_VERSION"]


def test_an_initdb_that_was_killed_half_way_is_begun_again(postgres: EmbeddedPostgres) -> None:
    draft = postgres.directory.with_name("postgres.new")
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18\n")

    assert _ask(postgres.start(), "select 1") == 1
    assert not draft.exists()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", options={"shared_buffers": "many"})

    with pytest.raises(StartupError, match='invalid value for parameter "shared_buffers"'):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user's rights to give away")
def test_under_root_the_server_runs_as_somebody_else(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    server = postgres.running()
    assert server is not None

    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert postgres.directory.stat().st_mode & 0o077 == 0
