"""The preview as a terminal shows it."""

from datetime import UTC, datetime

import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services.previewing import Span, explain, table

SPRING = datetime(2026, 3, 28, tzinfo=UTC)


def test_the_table_shows_both_clocks_and_the_marks() -> None:
    cadence = Cadence(
        cron_expression="30 2 * * *", timezone="Europe/Berlin", exclude_cron=("* * 30 3 *",)
    )
    shown = table(explain(cadence, Span(after=SPRING, count=3), SPRING))
    lines = shown.splitlines()
    assert lines[2:7] == [
        "UTC                   LOCAL                           DUE           MARKS",
        "2026-03-28 01:30:00Z  Sat 2026-03-28 02:30:00 +01:00  01:30:00.000",
        "2026-03-29 01:00:00Z  Sun 2026-03-29 03:00:00 +02:00  01:00:00.000  dst_gap",
        "2026-03-30 00:30:00Z  Mon 2026-03-30 02:30:00 +02:00  00:30:00.000  excluded",
        "2026-03-31 00:30:00Z  Tue 2026-03-31 02:30:00 +02:00  00:30:00.000",
    ]
    assert lines[0].endswith("(Europe/Berlin)")
    assert lines[7].startswith("warning: ")


def test_the_table_says_when_nothing_follows() -> None:
    cadence = Cadence(fire_at=datetime(2026, 4, 1, tzinfo=UTC))
    shown = table(explain(cadence, Span(after=None, count=5), SPRING))
    assert "No occurrence comes after these." in shown


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidInput, match="to: is before from"):
        Span(after=SPRING, until=datetime(2026, 3, 27, tzinfo=UTC), count=1)
