"""The supervisor, with light parts: real processes, real signals, and what is left afterwards."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schedules_pipeline.dev.home import Home, Record
from schedules_pipeline.dev.ports import free_port, is_taken
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.dev.stopping import runs
from schedules_pipeline.launcher.identity import Identity, identify

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="finds its processes through /proc"
)
ROOT = Path(__file__).parents[2]


class House:
    """One `schedules dev` with light parts, on a home."""

    def __init__(self, home: Path, *parts: str, api_port: int = 0) -> None:
        self.home = Home(home)
        self.output = home.with_name(f"{home.name}-{time.monotonic_ns()}.out")
        arguments = [str(home), str(api_port), "0", *parts]
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.dev.house", *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def wait_until(self, what: Callable[[], object], seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, self.said
            time.sleep(0.02)

    def wait_for(self, pattern: str, seconds: float = 20) -> None:
        self.wait_until(lambda: re.search(pattern, self.said), seconds)

    def wait_until_up(self) -> "House":
        self.wait_for("Fires, as they land")
        return self

    def part(self, name: str) -> Identity:
        return self.home.read_records()[name].identity

    def all_processes(self) -> list[Identity]:
        server = EmbeddedPostgres(self.home.postgres).running()
        return self.home.processes() + ([server] if server else [])

    def runs(self) -> list[Identity]:
        return runs(self.home, self.home.read_records())

    def stop(self, number: signal.Signals) -> float:
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(15)
        return time.monotonic() - began

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PostgreSQL data folder to copy: initdb is most of a light house's start."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("cluster") / "postgres")
    server.start()
    server.stop()
    return server.directory


@pytest.fixture
def start(tmp_path: Path, cluster: Path) -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def start(*parts: str, home: Path = tmp_path / "home", api_port: int = 0) -> House:
        if not (home / "postgres").exists():
            home.mkdir(exist_ok=True)
            # With its owner: under root it is another user's.
            subprocess.run(["cp", "-a", str(cluster), str(home / "postgres")], check=True)
        houses.append(House(home, *parts, api_port=api_port))
        return houses[-1]

    yield start
    for house in houses:
        house.kill()
        for process in house.home.processes():
            process.kill(signal.SIGKILL)
        EmbeddedPostgres(house.home.postgres).stop_leftover()


def test_it_prints_the_addresses_and_then_every_fire_in_columns(
    start: Callable[..., House],
) -> None:
    house = start("api").wait_until_up()
    first = {
        "fire_id": "a",
        "schedule_name": "morning\x1b[2Jbrief\n",
        "agent_name": "demo\u202e",
        "state": "delivered",
        "reason": None,
        "lateness_seconds": 0.0214,
    }
    second = first | {
        "fire_id": "b",
        "schedule_name": "n" * 50,
        "agent_name": "demo",
        "state": "skipped",
        "reason": "paused",
        "lateness_seconds": None,
    }
    (house.home.path / "landed.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    house.wait_for("skipped")
    time.sleep(1.2)  # two more looks: nothing is printed twice

    lines = house.said.splitlines()
    assert re.fullmatch(r"REST API    http://127\.0\.0\.1:\d+", lines[-8])
    assert re.fullmatch(r"Dagster UI  http://127\.0\.0\.1:\d+", lines[-7])
    assert lines[-6] == f"Logs        {house.home.logs}"
    assert lines[-5] == "Ctrl-C stops everything. Fires, as they land:"
    heading, *fires = lines[-3:]
    assert heading == (
        "nominal time          schedule                        agent             "
        "outcome                       late"
    )
    instant = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert [instant.sub("<instant>", fire) for fire in fires] == [
        r"<instant>  morning\x1b[2Jbrief\n           demo\u202e        "
        "delivered                     0.021 s",
        f"<instant>  {'n' * 29}…  demo              skipped (paused)",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_leaves_no_process_and_takes_less_than_ten_seconds(
    start: Callable[..., House], number: signal.Signals
) -> None:
    parts = ["api", "daemon", "code server", *(["stubborn"] if number == signal.SIGTERM else [])]
    house = start(*parts).wait_until_up()
    house.wait_until((house.home.path / "run-started").exists)
    processes = house.all_processes()
    assert len(processes) == len(parts) + 3  # and the run, its helper, PostgreSQL

    seconds = house.stop(number)

    assert seconds < 10
    assert house.process.returncode == 0
    assert [process for process in processes if process.is_alive()] == []
    assert house.all_processes() == []
    assert house.said.endswith(f"\nStopping ({number.name}) …\nStopped; nothing is left running.\n")


def test_a_second_stop_signal_changes_nothing(start: Callable[..., House]) -> None:
    house = start("stubborn").wait_until_up()
    house.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)

    house.stop(signal.SIGINT)

    assert house.process.returncode == 0
    assert house.all_processes() == []


def test_a_stop_while_it_is_still_starting_leaves_no_process(start: Callable[..., House]) -> None:
    house = start("api", "daemon", "code server")
    house.wait_for("schedules dev on")
    time.sleep(0.2)

    assert house.stop(signal.SIGTERM) < 10
    assert house.all_processes() == []


@pytest.mark.parametrize("starter", ["code server", "run parent"])
def test_runs_are_interrupted_while_postgres_still_serves(
    start: Callable[..., House], starter: str
) -> None:
    house = start("daemon", starter).wait_until_up()
    house.wait_until((house.home.path / "run-started").exists)

    house.stop(signal.SIGTERM)

    assert (house.home.path / "run-ended").read_text() == "postgres True"


def test_a_second_one_on_the_same_home_says_so_and_leaves_the_first_alone(
    start: Callable[..., House],
) -> None:
    first = start("daemon").wait_until_up()
    before = first.all_processes()

    second = start("daemon", home=first.home.path)

    assert second.process.wait(10) == 1
    assert second.said == (
        f"schedules: `schedules dev` already runs on {first.home.path} (pid {first.process.pid});"
        " it was left alone. Stop it first, or give another --home (SCHEDULES_HOME).\n"
    )
    assert first.process.poll() is None
    assert set(first.all_processes()) == set(before)


def test_a_taken_port_is_named_before_anything_is_started(start: Callable[..., House]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        house = start("daemon", api_port=port)

        assert house.process.wait(10) == 1
    assert house.said == (
        f"schedules: Already taken: port {port} (REST API: --api-port, SCHEDULES_API_PORT)."
        " Nothing was started.\n"
    )
    assert list(house.home.logs.iterdir()) == []


@pytest.mark.parametrize("name", ["postgres", "api", "daemon", "code server"])
def test_a_killed_part_is_back_within_five_seconds(start: Callable[..., House], name: str) -> None:
    house = start("api", "daemon", "code server").wait_until_up()
    killed = house.part(name)

    killed.kill(signal.SIGKILL)
    house.wait_for(rf"(?s){name} +restarted.*{name} +ready after", seconds=5)

    assert re.search(rf"{name} +died \(killed by SIGKILL\); restart in 0.2 s", house.said)
    assert house.part(name).is_alive()
    assert house.part(name) != killed
    assert not killed.is_alive()


@pytest.mark.parametrize("starter", ["code server", "run parent"])
def test_the_run_of_a_dead_starter_goes_on_and_is_interrupted_at_the_end(
    start: Callable[..., House], starter: str
) -> None:
    house = start(starter).wait_until_up()
    house.wait_until((house.home.path / "run-started").exists)
    [run] = house.runs()

    house.part(starter).kill(signal.SIGKILL)
    house.wait_for(f"{starter} +restarted")
    time.sleep(0.3)
    assert run.is_alive()

    house.stop(signal.SIGTERM)
    assert not run.is_alive()
    assert (house.home.path / "run-ended").read_text() == "postgres True"


def test_a_run_that_dies_without_its_code_server_leaves_no_zombie(
    start: Callable[..., House],
) -> None:
    house = start("code server").wait_until_up()
    house.wait_until((house.home.path / "run-started").exists)
    [run] = house.runs()
    house.part("code server").kill(signal.SIGKILL)
    house.wait_for("code server +ready after .*\n(.*\n)*.*code server +restarted")

    run.kill(signal.SIGKILL)

    house.wait_until(lambda: not Path(f"/proc/{run.pid}").exists(), 5)


def test_after_kill_minus_nine_the_next_start_stops_what_is_left_and_goes_on(
    start: Callable[..., House],
) -> None:
    first = start("api", "daemon", "code server").wait_until_up()
    first.wait_until((first.home.path / "run-started").exists)
    server, code = first.part("postgres"), first.part("code server")
    [run] = first.runs()

    first.kill()
    first.wait_until(lambda: not code.is_alive(), 5)
    # What the ledger needs goes on: a run in the middle of its work, and PostgreSQL.
    assert run.is_alive()
    assert server.is_alive()

    second = start("api", "daemon", home=first.home.path).wait_until_up()

    assert second.said.startswith(
        "Stopping what an earlier run left on this home: postgres, Dagster run\n"
    )
    assert not run.is_alive()
    assert not server.is_alive()
    assert (first.home.path / "run-ended").read_text() == "postgres True"
    second.stop(signal.SIGTERM)
    assert second.all_processes() == []


def test_a_recorded_pid_that_is_somebody_elses_by_now_is_left_alone(
    start: Callable[..., House], tmp_path: Path
) -> None:
    home = Home.make(tmp_path / "home")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        home.write_records({"daemon": Record(stranger.pid, "another boot/1", whole_group=True)})

        house = start("daemon").wait_until_up()

        assert stranger.poll() is None
        assert "earlier run" not in house.said
        stranger.kill()


def test_records_that_cannot_be_read_do_not_stop_it(
    start: Callable[..., House], tmp_path: Path
) -> None:
    home = Home.make(tmp_path / "home")
    (home.run / "parts.json").write_text('{"daemon": [1, 2')

    start("daemon").wait_until_up()


def test_a_long_absence_of_postgres_restarts_the_code_server(start: Callable[..., House]) -> None:
    house = start("code server").wait_until_up()
    house.wait_until((house.home.path / "run-started").exists)
    code = house.part("code server")
    [run] = house.runs()
    server = house.part("postgres")

    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(6.5)
    os.kill(server.pid, signal.SIGCONT)
    house.wait_for("code server +restarted: the database was away")

    assert re.search(r"the database was away for \d+ s", house.said)
    assert not code.is_alive()
    assert run.is_alive()
    house.wait_until(lambda: house.part("code server").is_alive())


def test_a_host_clock_that_is_set_back_restarts_the_daemon_which_would_sleep_as_long(
    start: Callable[..., House],
) -> None:
    house = start("daemon", "code server").wait_until_up()
    daemon, code = house.part("daemon"), house.part("code server")

    (house.home.path / "host-clock.new").write_text("-3600")
    (house.home.path / "host-clock.new").rename(house.home.path / "host-clock")
    house.wait_for("daemon +restarted: the host's clock was set back by 3600 s")

    house.wait_until(lambda: not daemon.is_alive())
    house.wait_until(lambda: house.part("daemon").is_alive())
    assert house.part("code server") == code


def test_a_part_that_keeps_dying_is_restarted_ever_later_with_the_end_of_its_log(
    start: Callable[..., House],
) -> None:
    house = start("broken")

    house.wait_for(r"restart in 1.8 s\n.*\n.*\n")

    delays = re.findall(r"broken +died \(exit code 1\); restart in (\S+) s", house.said)
    assert delays == ["0.2", "0.6", "1.8"]
    assert f"    it keeps dying; {house.home.log('broken')} ends:\n    | no \\x1b[31mway\n" in (
        house.said
    )
    assert house.stop(signal.SIGTERM) < 10


def test_databases_that_cannot_be_made_ready_end_it_with_one_line(
    start: Callable[..., House], tmp_path: Path
) -> None:
    home = Home.make(tmp_path / "home")
    (home.path / "refuse").touch()

    house = start("daemon")

    assert house.process.wait(20) == 1
    assert house.said.endswith("schedules: The tables are of a later version.\n")
    assert "Traceback" not in house.said
    assert house.all_processes() == []


def test_a_terminal_that_went_away_does_not_stop_it(
    start: Callable[..., House], tmp_path: Path
) -> None:
    home, api_port = tmp_path / "home", free_port()
    command = [sys.executable, "-m", "tests.dev.house", str(home), str(api_port), "0", "api"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        try:
            until = time.monotonic() + 20
            while not is_taken("127.0.0.1", api_port):
                assert time.monotonic() < until
                time.sleep(0.05)
            assert process.poll() is None
        finally:
            process.terminate()
        assert process.wait(15) == 0
    assert Home(home).processes() == []


def test_parts_do_not_inherit_ignored_signals(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script = 'trap "" INT HUP; exec "$@"'
    command = [sys.executable, "-m", "tests.dev.house", str(home), "0", "0", "daemon"]
    with subprocess.Popen(
        ["sh", "-c", script, "sh", *command], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + 20
            while not (daemon := Home(home).read_records().get("daemon")) or not _is_up(home):
                assert time.monotonic() < until
                time.sleep(0.05)
            status = Path(f"/proc/{daemon.pid}/status").read_text()
            # A closed terminal is ignored, as `nohup` asks; an interrupt never is.
            process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    assert int(re.findall(r"SigIgn:\s*(\w+)", status)[0], 16) & 0b11 == 0


def _is_up(home: Path) -> bool:
    log = home / "logs" / "daemon.log"
    return log.exists() and "up" in log.read_text()


def test_identity_tells_a_process_from_a_later_one_with_its_pid() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        found = identify(process.pid)
        assert found is not None
        assert found.is_alive()
        assert not Identity(found.pid, "another boot/1").kill(signal.SIGKILL)
        assert process.poll() is None
        found.kill(signal.SIGKILL)
    assert not found.is_alive()
