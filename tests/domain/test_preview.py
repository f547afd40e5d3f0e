"""What a person is shown before a cadence does anything."""

import re

import pytest

from schedules_pipeline.domain.cadence import Cadence, DstFold, DstGap
from schedules_pipeline.domain.cautions import warnings
from schedules_pipeline.domain.describe import sentence
from schedules_pipeline.domain.occurrences import due_at
from schedules_pipeline.domain.preview import MAX_LISTED, Mark, Preview, preview
from tests.domain.time_tools import at, cron

NOW = at("2026-01-01T12:00Z")


def lines(found: Preview) -> list[str]:
    return [
        " ".join([entry.local.isoformat(timespec="minutes"), *entry.marks])
        for entry in found.occurrences
    ]


def test_a_moved_occurrence_is_marked_and_one_dropped_by_skip_is_not_listed() -> None:
    moved = cron("30 2 * * *", "Europe/Berlin")
    assert lines(preview(moved, None, at("2026-03-28T12:00Z"), 2)) == [
        "2026-03-29T03:00+02:00 dst_gap",
        "2026-03-30T02:30+02:00",
    ]
    dropped = cron("30 2 * * *", "Europe/Berlin", dst_gap=DstGap.SKIP)
    assert lines(preview(dropped, None, at("2026-03-28T12:00Z"), 1)) == ["2026-03-30T02:30+02:00"]


def test_a_regular_occurrence_at_the_end_of_a_gap_is_not_marked_as_moved() -> None:
    found = preview(cron("0 2,3 * * *", "Europe/Berlin"), None, at("2026-03-28T12:00Z"), 1)
    assert lines(found) == ["2026-03-29T03:00+02:00"]


def test_both_passes_of_a_fold_are_marked() -> None:
    both = cron("30 2 * * *", "Europe/Berlin", dst_fold=DstFold.BOTH)
    assert lines(preview(both, None, at("2026-10-24T12:00Z"), 3)) == [
        "2026-10-25T02:30+02:00 dst_fold",
        "2026-10-25T02:30+01:00 dst_fold",
        "2026-10-26T02:30+01:00",
    ]


def test_an_interval_has_no_marks_of_a_zone() -> None:
    hourly = Cadence(interval_seconds=3_600, timezone="Europe/Berlin")
    assert lines(preview(hourly, None, at("2026-10-24T23:30Z"), 2)) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
    ]


def test_excluded_and_skipped_ones_are_listed_but_not_counted() -> None:
    cadence = cron("0 9 * * *", exclude_cron=("* * * * sat,sun",))
    skips = frozenset({at("2026-01-05T09:00Z"), at("2026-01-03T09:00Z")})
    assert lines(preview(cadence, None, NOW, 2, skips)) == [
        "2026-01-02T09:00+00:00",
        "2026-01-03T09:00+00:00 excluded skipped",
        "2026-01-04T09:00+00:00 excluded",
        "2026-01-05T09:00+00:00 skipped",
        "2026-01-06T09:00+00:00",
    ]


def test_until_is_inclusive_and_does_not_exhaust() -> None:
    found = preview(cron("@hourly"), None, NOW, 10, until=at("2026-01-01T14:00Z"))
    assert lines(found) == ["2026-01-01T13:00+00:00", "2026-01-01T14:00+00:00"]
    assert not found.exhausted


def test_a_cadence_is_exhausted_when_nothing_follows_what_is_listed() -> None:
    once = Cadence(fire_at=at("2026-06-24T09:00Z"))
    for count in (1, 5):
        found = preview(once, None, NOW, count)
        assert (len(found.occurrences), found.exhausted) == (1, True)
    twice = cron("0 0 1 1 * 2027,2028")
    assert not preview(twice, None, NOW, 1).exhausted
    assert preview(twice, None, NOW, 2).exhausted
    assert preview(twice, None, at("2029-01-01T00:00Z"), 2) == Preview([], exhausted=True)
    ends = cron("@hourly", end_at=at("2026-01-01T13:30Z"))
    assert preview(ends, None, NOW, 1).exhausted


def test_due_times_have_the_schedules_jitter() -> None:
    cadence = cron("@hourly", jitter_seconds=600)
    [entry] = preview(cadence, "schedule-1", NOW, 1).occurrences
    assert entry.due_at == due_at(cadence, "schedule-1", entry.nominal_at) != entry.nominal_at
    [unsaved] = preview(cadence, None, NOW, 1).occurrences
    assert unsaved.due_at == unsaved.nominal_at


def test_a_preview_of_what_is_always_excluded_ends_and_says_that_it_gave_up() -> None:
    cadence = Cadence(interval_seconds=1, exclude_cron=("* * * * * 2026-2030",))
    found = preview(cadence, None, NOW, 1)
    assert len(found.occurrences) == MAX_LISTED
    assert {entry.marks for entry in found.occurrences} == {(Mark.EXCLUDED,)}
    assert found.gave_up
    assert not found.exhausted


@pytest.mark.parametrize(
    ("cadence", "said"),
    [
        (cron("*/5 * * * *"), "Every 5 minutes (UTC)"),
        (
            cron("0 9 * * MON-FRI", "Europe/Berlin"),
            "At 09:00, Monday through Friday (Europe/Berlin)",
        ),
        (cron("0 9 * * 0-7"), "At 09:00 (UTC)"),
        (cron("*/50 * * * *"), "At 0 and 50 minutes past the hour (UTC)"),
        (cron("0 0 13 * fri"), "At 00:00, on day 13 of the month, or on Friday (UTC)"),
        (
            cron("0 0 */10 * mon"),
            "At 00:00, on day 1, 11, 21, and 31 of the month, and on Monday (UTC)",
        ),
        (cron("0 0 L * *"), "At 00:00, on the last day of the month (UTC)"),
        (cron("0 0 * * friL"), "At 00:00, on the last Friday of the month (UTC)"),
        (cron("0 0 * * wed#3"), "At 00:00, on the third Wednesday of the month (UTC)"),
        (
            cron("0 0 * * 1#1,3#3"),
            "At times that match second 0, minute 0, hour 0, day-of-week 1#1,3#3 (UTC)",
        ),
        (
            cron("15 0 9 * * 1 2026-2028,2030"),
            "At 09:00:15, only on Monday, only in 2026-2028, 2030 (UTC)",
        ),
        (
            cron("0 0 1 1 * */2"),
            "At 00:00, on day 1 of the month, only in January, only in 2000, 2002, 2004, 2006, "
            "2008, … 2100 (UTC)",
        ),
        (cron("CRON_TZ=Asia/Tokyo @daily"), "At 00:00 (Asia/Tokyo)"),
        (
            cron("@every 90m/5m"),
            "Every 1 hour 30 minutes, counted from 1970-01-01 00:00 UTC plus 5 minutes",
        ),
        (
            Cadence(interval_seconds=86_401),
            "Every 1 day 1 second, counted from 1970-01-01 00:00 UTC",
        ),
        (Cadence(fire_at=at("2026-06-24T09:00:00Z")), "Once, at 2026-06-24 09:00:00 UTC"),
        (
            cron("@hourly", start_at=NOW, end_at=NOW, exclude_cron=("* 1 * * *", "* 2 * * *")),
            "Every hour (UTC), from 2026-01-01 12:00:00 UTC, until 2026-01-01 12:00:00 UTC, "
            "except at times that match '* 1 * * *' or '* 2 * * *' (UTC)",
        ),
    ],
)
def test_a_cadence_is_said_in_english(cadence: Cadence, said: str) -> None:
    assert sentence(cadence) == said


@pytest.mark.parametrize(
    ("cadence", "warning"),
    [
        (
            cron("0 0 31 * *"),
            "some of its months have no 31st; 'L' as day-of-month means the last day of each",
        ),
        (
            cron("0 0 1,30 2-12 *"),
            "some of its months have no 30th; 'L' as day-of-month means the last day of each",
        ),
        (cron("0 0 29 2 *"), "29 February comes in leap years only"),
        (cron("* * * * *"), "fires up to 1,440 times a day: each one starts a task"),
        (
            Cadence(interval_seconds=60),
            "fires up to 1,440 times a day: each one starts a task",
        ),
        (
            cron("0 0 1 1 * 2025"),
            "never fires again after 2026-01-01T12:00:00+00:00",
        ),
        (
            cron("30 2 * * *", "Europe/Berlin"),
            "falls into a DST gap on 2026-03-29: in Europe/Berlin the clocks jump from 02:00 to "
            "03:00; it runs at the first instant after it (dst_gap 'run_after')",
        ),
        (
            cron("30 2 * * *", "Europe/Berlin", dst_gap=DstGap.SKIP),
            "falls into a DST gap on 2026-03-29: in Europe/Berlin the clocks jump from 02:00 to "
            "03:00; what falls into it is dropped (dst_gap 'skip')",
        ),
        (
            cron("0 */12 * * *", "Asia/Beirut"),
            "falls into a DST gap on 2026-03-29: in Asia/Beirut the clocks jump from 00:00 to "
            "01:00; times within do not exist, and a cadence with a step does not move them",
        ),
        (
            cron("0 0 13 * fri"),
            "day-of-month and day-of-week are both given, and a day that matches either of them "
            "counts; set cron_day_match to 'all' if it must match both",
        ),
        (
            cron("*/90 * * * *"),
            "minute '*/90' starts anew with each hour, so it is not every 1 hour 30 minutes; "
            "for that use interval_seconds 5400",
        ),
        (
            cron("* * * * *", exclude_cron=("*/2 * * * *", "1-59/2 * * * *")),
            "exclude_cron: the search gave up at 2026-01-15T09:20:59+00:00 after 20,000 excluded "
            "spans in a row; let the exclusions leave something of the cadence, or set end_at",
        ),
    ],
)
def test_what_may_surprise_is_said(cadence: Cadence, warning: str) -> None:
    assert warning in warnings(cadence, NOW)


@pytest.mark.parametrize(
    "cadence",
    [
        cron("*/5 * * * *", "Europe/Berlin"),
        cron("0 9 * * mon-fri", "Europe/Berlin"),
        cron("0 0 L * *"),
        cron("0 0 1-31 * *"),
        cron("0 0 31 1,3,5 *"),
        cron("0 */12 * * *", "Europe/Berlin"),
        Cadence(interval_seconds=90),
        Cadence(fire_at=at("2026-06-24T09:00Z")),
        cron("30 2 * * *", "Europe/Berlin", end_at=at("2026-03-01T00:00Z")),
    ],
)
def test_what_surprises_nobody_is_not_warned_of(cadence: Cadence) -> None:
    assert warnings(cadence, NOW) == []


def test_every_form_of_the_dialect_can_be_said() -> None:
    for text in (
        *("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"),
        *("0 0 LW * *", "0 0 1,L * *", "0 0 * * 1,5L", "0 0 L * 5#2", "3/20 * * * *"),
        *("5,10-20/3 */2,5 * * *", "*/7 */5 */3 */2 */2 */9", "*/7 * * * * * 2030/5"),
    ):
        said = sentence(cron(text))
        assert re.fullmatch(r"(At|Every) .+ \(UTC\)", said), said
