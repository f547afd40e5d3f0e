"""What is printed, on terminals of all kinds."""

import io
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest

from schedules_pipeline.dev.voice import Voice, printable


@dataclass(frozen=True)
class Fire:
    nominal_at: datetime = datetime(2026, 6, 24, 9, 0, tzinfo=timezone(timedelta(hours=2)))
    schedule_name: str = "brief"
    agent_name: str = "demo"
    state: str = "delivered"
    reason: str | None = None
    lateness_seconds: float | None = 0.02


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 世界", "plain ünïcode 世界"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x9b2J", r"\x9b2J"),
        ("turned \u202e around", r"turned \u202e around"),
        ("lone \ud800 half", r"lone \ud800 half"),
    ],
)
def test_what_could_move_the_cursor_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_nominal_time_is_printed_in_utc() -> None:
    out = io.StringIO()

    Voice(out).fire(Fire())

    assert out.getvalue().startswith("2026-06-24T07:00:00Z  brief ")
    assert Fire().nominal_at.astimezone(UTC).hour == 7


def test_a_fire_that_was_not_sent_has_no_lateness() -> None:
    out = io.StringIO()

    Voice(out).fire(Fire(state="missed", reason="coalesced", lateness_seconds=None))

    assert out.getvalue().endswith("missed (coalesced)\n")


def test_a_terminal_without_the_letters_gets_them_spelled_out() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    Voice(out).say("müde …")

    out.seek(0)
    assert out.read() == "m\\xfcde \\u2026\n"


def test_a_reader_that_went_away_is_no_error_even_at_exit() -> None:
    program = (
        "import sys; from schedules_pipeline.dev.voice import Voice; voice = Voice();"
        "voice.say('first'); sys.stdin.read(); voice.say('second'); voice.say('third')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
