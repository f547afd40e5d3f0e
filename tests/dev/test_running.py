"""One part's log and its restarts, without a house around it."""

import io
import sys
import time
from pathlib import Path

import pytest

from schedules_pipeline.dev import running
from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.parts import Part
from schedules_pipeline.dev.running import RunningPart, tail
from schedules_pipeline.dev.voice import Voice
from schedules_pipeline.settings import child_environment


def _part(program: str) -> Part:
    return Part(
        name="writer",
        command=(sys.executable, "-S", "-u", "-c", program),
        environment=child_environment(),
        is_ready=lambda _pid: True,
    )


def test_a_log_that_grew_large_is_moved_aside_while_its_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LOG_BYTES", 10)
    home = Home.make(tmp_path / "home")
    program = "import sys, time; print('a long first line'); sys.stdin.read(); time.sleep(0.5)"
    part = RunningPart(_part(f"{program}; print('later')"), home, Voice(io.StringIO()))
    part.begin()
    log = home.log("writer")
    _wait_for(log, "a long first line\n")

    part.keep_log_small()

    assert log.with_suffix(".log.1").read_text() == "a long first line\n"
    _wait_for(log, "later\n")
    while not part.look():
        time.sleep(0.02)


def test_the_tail_of_a_log_is_its_last_lines_whatever_bytes_they_hold(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d \xff\n" % n for n in range(5000)))

    assert tail(log, 2) == ["line 4998 �", "line 4999 �"]
    assert tail(tmp_path / "none") == []


def _wait_for(log: Path, text: str) -> None:
    until = time.monotonic() + 10
    while not log.exists() or log.read_text() != text:
        assert time.monotonic() < until
        time.sleep(0.02)
