"""`schedules preview`: what a cron expression will do, without a database."""

import pytest
from click.testing import CliRunner, Result

from schedules_pipeline.cli import main


def preview(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["preview", *arguments])


def test_it_prints_utc_local_time_with_offset_due_time_and_marks() -> None:
    answer = preview("30 2 * * *", "--tz", "Europe/Berlin", "--count", "2", "--from", "2026-03-28")

    assert answer.exit_code == 0
    lines = answer.output.splitlines()
    assert lines[0] == "At 02:30 (Europe/Berlin)"
    assert lines[2].split() == ["UTC", "LOCAL", "DUE", "MARKS"]
    assert lines[3].startswith("2026-03-28 01:30:00Z  Sat 2026-03-28 02:30:00 +01:00")
    assert lines[4].startswith("2026-03-29 01:00:00Z  Sun 2026-03-29 03:00:00 +02:00")
    assert lines[4].endswith("dst_gap")
    assert "warning: falls into a DST gap on 2026-03-29" in answer.output


def test_every_policy_can_be_asked_for() -> None:
    autumn = ("30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-10-24", "--count", "3")

    both = preview(*autumn, "--dst-fold", "both").output
    last = preview(*autumn, "--dst-fold", "last").output
    spring = preview("30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28", "--count", "2",
                     "--dst-gap", "skip").output  # fmt: skip
    weekdays = preview("0 9 13 * fri", "--day-match", "all", "--from", "2026-01-01", "--count", "1")
    excluded = preview("0 9 * * *", "--exclude", "* * 25 12 *", "--from", "2026-12-24T10:00:00",
                       "--count", "1").output  # fmt: skip

    assert "2026-10-25 00:30:00Z" in both
    assert "2026-10-25 01:30:00Z" in both
    assert "2026-10-25 00:30:00Z" not in last
    assert "2026-03-29 0" not in spring
    assert "2026-02-13 09:00:00Z" in weekdays.output
    assert "excluded" in excluded
    assert "2026-12-26 09:00:00Z" in excluded


def test_without_a_beginning_it_begins_now() -> None:
    assert "+00:00" in preview("* * * * *", "--count", "1").output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("61 * * * *",), "schedules: cron_expression: minute '61' is not a value of 0-59"),
        (("0 0 30 2 *",), "names a time that never comes"),
        (("* * * * *", "--tz", "Mars/X"), "schedules: timezone: 'Mars/X' is not an IANA time zone"),
        (("* * * * *", "--from", "tomorrow"), "'tomorrow' is no instant"),
        (("* * * * *", "--count", "0"), "0 is not in the range 1<=x<=1000"),
        (("* * * * *", "--start-at", "2026-02-01", "--end-at", "2026-01-01"), "end_at"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(arguments: tuple[str, ...], complaint: str) -> None:
    answer = preview(*arguments)

    assert answer.exit_code != 0
    assert complaint in answer.output
    assert "Traceback" not in answer.output
