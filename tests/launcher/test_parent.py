"""The run parent itself: what it bears, what it hands on to nobody, and when it starts anew."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from schedules_pipeline.errors import NoWarmProcess, StartupError
from schedules_pipeline.launcher import parent as parent_module
from schedules_pipeline.launcher.handover import LONGEST_LINE, Worker, handover
from schedules_pipeline.launcher.identity import HAS_PROC, PROC, identify
from schedules_pipeline.launcher.importing import Sources
from schedules_pipeline.launcher.parent import MOST_CONNECTIONS
from tests.launcher.stage import Parent, Stage, start_parent, wait_for

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="runs are forked on Linux only")


def test_only_our_own_user_may_connect(stage: Stage, parent: Parent) -> None:
    assert stage.socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\n",
        b"\0\xff\xfe\n",
        b"{}\n",
        b'{"run_id": 1}\n',
        b'{"__class__": "ExecuteRunArgs", "pipeline_run_id": 7}\n',
        b"[" * 60_000 + b"\n",
        b"x" * (LONGEST_LINE + 1),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=lambda message: message[:12],
)
def test_a_message_that_is_no_run_costs_its_sender_the_connection_and_nobody_else_anything(
    stage: Stage, parent: Parent, message: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(stage.socket))
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        answer = _until_the_end(connection)

    assert answer == b""
    assert parent.process.poll() is None


def test_after_all_that_a_run_is_forked_as_ever(stage: Stage, parent: Parent) -> None:
    assert stage.end_of(stage.launch("telling")) == "SUCCESS"


def test_those_who_connect_and_say_nothing_hold_up_nobody(stage: Stage, parent: Parent) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(2 * MOST_CONNECTIONS)]
    try:
        for connection in silent:
            connection.connect(str(stage.socket))
            connection.sendall(b"half a line")
        run = stage.launch("telling")

        assert stage.end_of(run) == "SUCCESS"
        assert "cold" not in stage.log(run)
        silent[-1].settimeout(30)
        assert silent[-1].recv(1) == b"", "in the end it is not waited for"
    finally:
        for connection in silent:
            connection.close()


def test_a_run_whose_launcher_dies_before_it_says_go_is_not_begun(
    stage: Stage, parent: Parent
) -> None:
    run = stage.new("telling")
    with handover(stage.socket) as handing:
        worker = handing.ask(stage.launcher._told(run))
        assert worker.identity.is_alive()

    wait_for(lambda: not worker.identity.is_alive())
    assert stage.reload(run).status.value == "NOT_STARTED"


def test_a_process_that_dies_before_it_was_told_to_go_ends_no_run(
    stage: Stage, parent: Parent
) -> None:
    run = stage.new("telling")
    with handover(stage.socket) as handing:
        worker = handing.ask(stage.launcher._told(run))
        os.kill(worker.identity.pid, 9)
        # The report of its death is the parent's only child once it is gone.
        wait_for(lambda: f"process {worker.identity.pid} ended" in parent.said)
    wait_for(lambda: not parent.children)

    assert stage.reload(run).status.value == "NOT_STARTED"


def test_a_forked_process_holds_nothing_of_its_parents_open(stage: Stage, parent: Parent) -> None:
    other = socket.socket(socket.AF_UNIX)
    other.connect(str(stage.socket))
    with other, handover(stage.socket) as handing:
        worker = handing.ask(stage.launcher._told(stage.new("telling")))
        parents = _sockets(parent.process.pid)
        shared = wait_for(lambda: _sockets(worker.identity.pid)) & parents

    assert len(parents) >= 4, "the listener, its waker's two ends, the other connection"
    assert shared == set()


def test_a_parent_whose_code_changes_starts_anew_in_place(stage: Stage, no_parent: Path) -> None:
    code = stage.folder / "code.py"
    code.touch()
    watching = (
        "import pathlib\n"
        "from schedules_pipeline.launcher import importing, parent\n"
        f"code = pathlib.Path({str(code)!r})\n"
        "parent.Sources.of = lambda _: parent.Sources({code: code.stat().st_mtime_ns})\n"
        "parent.main()\n"
    )
    started = start_parent(no_parent, stage.folder, ("-c", watching))
    try:
        before = identify(started.process.pid)
        run = stage.launch("waiting")
        stage.began(run)
        seen = started.said.count("ready")
        os.utime(code, (1, 1))
        # Whoever asks in that moment is told why it gets nothing.
        wait_for(lambda: "the code has changed" in started.said)
        wait_for(lambda: started.said.count("ready") > seen)

        assert identify(started.process.pid) == before
        assert stage.end_of(stage.launch("telling")) == "SUCCESS"
        stage.let_end(run)
        assert stage.end_of(run) == "SUCCESS"
    finally:
        started.kill()


def test_sources_have_changed_when_a_file_is_another_or_gone(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.touch()
    sources = Sources({module: module.stat().st_mtime_ns})
    assert not sources.have_changed()

    os.utime(module, (1, 1))
    assert sources.have_changed()
    module.unlink()
    assert sources.have_changed()


def test_the_sources_of_the_package_are_its_imported_modules() -> None:
    files = Sources.of("schedules_pipeline").changed_at

    assert Path(str(sys.modules["schedules_pipeline.launcher.importing"].__file__)) in files
    assert all("schedules_pipeline" in file.parts for file in files)


@pytest.mark.parametrize(
    ("leftover", "complaint"),
    [
        ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "2 threads run"),
        ("kept = socket.socket()", "1 sockets are open"),
    ],
)
def test_a_parent_that_would_fork_badly_refuses_to_serve(leftover: str, complaint: str) -> None:
    program = (
        "import socket, threading, time\n"
        "from schedules_pipeline.launcher.importing import refuse_to_fork_badly\n"
        f"{leftover}\n"
        "refuse_to_fork_badly()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert complaint in ended.stderr


def test_a_parent_that_is_not_told_where_to_listen_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["parent.py"])

    with pytest.raises(SystemExit) as ended:
        parent_module.main()

    assert ended.value.code == (
        "Say where to listen: python -m schedules_pipeline.launcher.parent SOCKET"
    )


def test_a_parent_that_cannot_start_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_listener: int) -> None:
        raise StartupError("2 threads run")

    monkeypatch.setattr(sys, "argv", ["parent.py", str(tmp_path / "warm.sock")])
    monkeypatch.setattr(parent_module, "import_everything", refuse)

    with pytest.raises(SystemExit) as ended:
        parent_module.main()

    assert ended.value.code == "run parent: 2 threads run"


def test_a_line_that_is_no_worker_is_shown_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"not a worker: '\{\}'"):
        Worker.parse("{}")


def test_where_nobody_listens_the_error_names_the_place(tmp_path: Path) -> None:
    with (
        pytest.raises(NoWarmProcess, match=f"no run parent listens at {tmp_path}/none"),
        handover(tmp_path / "none"),
    ):
        pass


def _until_the_end(connection: socket.socket) -> bytes:
    heard = b""
    while part := connection.recv(4096):
        heard += part
    return heard


def _sockets(pid: int) -> set[str]:
    links = set()
    for entry in (PROC / str(pid) / "fd").iterdir():
        try:
            links.add(str(entry.readlink()))
        except OSError:
            continue
    return {link for link in links if link.startswith("socket:")}
