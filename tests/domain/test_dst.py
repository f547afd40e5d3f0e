"""Nights on which clocks change, one test per transition, in wall-clock times with offsets.

Defaults: `dst_gap` run_after (the first instant after the gap stands for what fell into it),
`dst_fold` first. Cadences finer than a day follow elapsed time, whatever the policies say.
"""

from itertools import islice, pairwise

import pytest

from schedules_pipeline.domain.cadence import DstFold, DstGap
from schedules_pipeline.domain.occurrences import occurrences, previous_occurrence
from tests.domain.time_tools import at, cron, local_times, shown


def nights(expression: str, zone: str, after: str, count: int = 3, **policy: object) -> list[str]:
    """The next occurrences; looking back from each must find the one before it."""
    cadence = cron(expression, zone, **policy)
    found = list(islice(occurrences(cadence, at(after)), count))
    for left, right in pairwise(found):
        assert previous_occurrence(cadence, right) == left
    return [shown(moment, cadence) for moment in found]


# Berlin, spring: on 29 March 2026, 02:00+01:00 is 03:00+02:00.


def test_berlin_spring_a_daily_run_in_the_gap_moves_to_the_first_instant_after_it() -> None:
    assert nights("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z") == [
        "2026-03-28T02:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_berlin_spring_a_daily_run_in_the_gap_is_dropped_by_skip() -> None:
    assert nights("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z", dst_gap=DstGap.SKIP) == [
        "2026-03-28T02:30+01:00",
        "2026-03-30T02:30+02:00",
        "2026-03-31T02:30+02:00",
    ]


def test_berlin_spring_the_first_minute_of_the_gap_is_in_it_and_its_end_is_not() -> None:
    skip = DstGap.SKIP
    for expression in ("0 2 29 3 *", "59 2 29 3 *"):
        assert nights(expression, "Europe/Berlin", "2026-03-01T00:00Z", 1) == [
            "2026-03-29T03:00+02:00"
        ]
        assert nights(expression, "Europe/Berlin", "2026-03-01T00:00Z", 1, dst_gap=skip)[0] > "2027"
    for policy in DstGap:
        edges = nights("0 3 29 3 *", "Europe/Berlin", "2026-03-01T00:00Z", 1, dst_gap=policy)
        assert edges == ["2026-03-29T03:00+02:00"]
        edges = nights("59 1 29 3 *", "Europe/Berlin", "2026-03-01T00:00Z", 1, dst_gap=policy)
        assert edges == ["2026-03-29T01:59+01:00"]


def test_berlin_spring_many_times_of_the_gap_make_one_occurrence() -> None:
    assert nights("*/10 2 * * *", "Europe/Berlin", "2026-03-28T01:50Z") == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:00+02:00",
        "2026-03-30T02:10+02:00",
    ]


def test_berlin_spring_a_moved_run_and_a_regular_one_at_the_same_instant_are_one() -> None:
    assert nights("0 2,3 * * *", "Europe/Berlin", "2026-03-28T02:00Z", 4) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:00+02:00",
        "2026-03-30T03:00+02:00",
        "2026-03-31T02:00+02:00",
    ]


@pytest.mark.parametrize("gap", DstGap)
def test_berlin_spring_every_half_hour_leaves_no_hole(gap: DstGap) -> None:
    assert nights("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00Z", 4, dst_gap=gap) == [
        "2026-03-29T01:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:30+02:00",
        "2026-03-29T04:00+02:00",
    ]


@pytest.mark.parametrize("gap", DstGap)
def test_berlin_spring_a_step_of_two_hours_fires_when_the_wall_clock_matches(gap: DstGap) -> None:
    # 02:00 does not exist. Nothing is moved: the next real instant that matches is 04:00.
    assert nights("0 */2 * * *", "Europe/Berlin", "2026-03-28T22:30Z", dst_gap=gap) == [
        "2026-03-29T00:00+01:00",
        "2026-03-29T04:00+02:00",
        "2026-03-29T06:00+02:00",
    ]


# Berlin, autumn: on 25 October 2026, 03:00+02:00 is 02:00+01:00.


@pytest.mark.parametrize(
    ("fold", "on_the_night"),
    [
        (DstFold.FIRST, ["2026-10-25T02:30+02:00"]),
        (DstFold.LAST, ["2026-10-25T02:30+01:00"]),
        (DstFold.BOTH, ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
    ],
)
def test_berlin_autumn_a_daily_run_in_the_fold(fold: DstFold, on_the_night: list[str]) -> None:
    count = 2 + len(on_the_night)
    assert nights("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00Z", count, dst_fold=fold) == [
        "2026-10-24T02:30+02:00",
        *on_the_night,
        "2026-10-26T02:30+01:00",
    ]


def test_berlin_autumn_both_passes_stay_in_the_order_of_real_time() -> None:
    both = DstFold.BOTH
    assert nights("15,45 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 5, dst_fold=both) == [
        "2026-10-25T02:15+02:00",
        "2026-10-25T02:45+02:00",
        "2026-10-25T02:15+01:00",
        "2026-10-25T02:45+01:00",
        "2026-10-26T02:15+01:00",
    ]


@pytest.mark.parametrize("fold", DstFold)
def test_berlin_autumn_every_quarter_of_an_hour_comes_in_both_passes(fold: DstFold) -> None:
    assert nights("*/15 * * * *", "Europe/Berlin", "2026-10-24T23:45Z", 9, dst_fold=fold) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:15+02:00",
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:45+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:15+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T02:45+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_berlin_autumn_the_edges_of_the_fold() -> None:
    last = DstFold.LAST
    assert nights("0 2,3 25 10 *", "Europe/Berlin", "2026-10-01T00:00Z", 2) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T03:00+01:00",
    ]
    assert nights("0 2,3 25 10 *", "Europe/Berlin", "2026-10-01T00:00Z", 2, dst_fold=last) == [
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_berlin_autumn_a_list_of_all_hours_is_as_fine_as_a_wildcard() -> None:
    assert nights("0 0-23 * * *", "Europe/Berlin", "2026-10-24T23:30Z", 3) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_a_step_that_names_a_single_hour_is_not_finer_than_a_day() -> None:
    assert nights("0 2/22 * * *", "Europe/Berlin", "2026-03-28T12:00Z", 1) == [
        "2026-03-29T03:00+02:00"
    ]


# Other zones: other hours, other lengths, other directions.


def test_new_york_spring_2026_at_0230() -> None:
    assert nights("30 2 * * *", "America/New_York", "2026-03-07T12:00Z", 2) == [
        "2026-03-08T03:00-04:00",
        "2026-03-09T02:30-04:00",
    ]


def test_london_autumn_2026_the_fold_reaches_utc() -> None:
    assert nights("30 1 * * *", "Europe/London", "2026-10-24T12:00Z", 3, dst_fold=DstFold.BOTH) == [
        "2026-10-25T01:30+01:00",
        "2026-10-25T01:30+00:00",
        "2026-10-26T01:30+00:00",
    ]


def test_dublin_where_winter_time_is_the_exception() -> None:
    assert nights("30 1 * * *", "Europe/Dublin", "2026-03-28T12:00Z", 2) == [
        "2026-03-29T02:00+01:00",
        "2026-03-30T01:30+01:00",
    ]
    assert nights("30 1 * * *", "Europe/Dublin", "2026-10-24T12:00Z", 2) == [
        "2026-10-25T01:30+01:00",
        "2026-10-26T01:30+00:00",
    ]


def test_lord_howe_spring_2026_jumps_by_half_an_hour() -> None:
    assert nights("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", 2) == [
        "2026-10-04T02:30+11:00",
        "2026-10-05T02:15+11:00",
    ]


def test_lord_howe_autumn_2026_repeats_half_an_hour() -> None:
    for fold, minute in ((DstFold.FIRST, "+11:00"), (DstFold.LAST, "+10:30")):
        assert nights(
            "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00Z", 2, dst_fold=fold
        ) == [f"2026-04-05T01:45{minute}", "2026-04-06T01:45+10:30"]
    hourly = nights("0 * * * *", "Australia/Lord_Howe", "2026-04-04T13:30Z", 3)
    assert hourly == [
        "2026-04-05T01:00+11:00",
        "2026-04-05T02:00+10:30",
        "2026-04-05T03:00+10:30",
    ]


def test_troll_moves_by_two_hours() -> None:
    assert nights("30 1 * * *", "Antarctica/Troll", "2026-03-28T12:00Z", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T01:30+02:00",
    ]
    assert nights(
        "30 1,2 * * *", "Antarctica/Troll", "2026-10-24T12:00Z", 4, dst_fold=DstFold.BOTH
    ) == [
        "2026-10-25T01:30+02:00",
        "2026-10-25T02:30+02:00",
        "2026-10-25T01:30+00:00",
        "2026-10-25T02:30+00:00",
    ]


@pytest.mark.parametrize(
    ("zone", "after", "first"),
    [
        ("Asia/Beirut", "2026-03-28T12:00Z", "2026-03-29T01:00+03:00"),
        ("America/Havana", "2026-03-07T12:00Z", "2026-03-08T01:00-04:00"),
        ("Africa/Cairo", "2026-04-23T12:00Z", "2026-04-24T01:00+03:00"),
        ("America/Asuncion", "2023-09-30T12:00Z", "2023-10-01T01:00-03:00"),
    ],
)
def test_a_day_without_midnight_begins_an_hour_later(zone: str, after: str, first: str) -> None:
    assert nights("0 0 * * *", zone, after, 1) == [first]
    assert nights("30 0 * * *", zone, after, 1) == [first]
    day_after = first[:8] + f"{int(first[8:10]) + 1:02}"
    assert nights("0 0 * * *", zone, after, 1, dst_gap=DstGap.SKIP)[0][:10] == day_after


@pytest.mark.parametrize(
    ("zone", "after", "passes"),
    [
        ("Asia/Beirut", "2026-10-24T12:00Z", ["2026-10-24T23:30+03:00", "2026-10-24T23:30+02:00"]),
        ("Africa/Cairo", "2026-10-29T12:00Z", ["2026-10-29T23:30+03:00", "2026-10-29T23:30+02:00"]),
        (
            "America/Asuncion",
            "2023-03-25T12:00Z",
            ["2023-03-25T23:30-03:00", "2023-03-25T23:30-04:00"],
        ),
    ],
)
def test_the_hour_before_midnight_comes_twice(zone: str, after: str, passes: list[str]) -> None:
    assert nights("30 23 * * *", zone, after, 2, dst_fold=DstFold.BOTH) == passes
    assert nights("30 23 * * *", zone, after, 1) == passes[:1]
    assert nights("30 23 * * *", zone, after, 1, dst_fold=DstFold.LAST) == passes[1:]


def test_havana_autumn_2025_midnight_comes_twice() -> None:
    assert nights("0 0 * * *", "America/Havana", "2025-11-01T12:00Z", 3, dst_fold=DstFold.BOTH) == [
        "2025-11-02T00:00-04:00",
        "2025-11-02T00:00-05:00",
        "2025-11-03T00:00-05:00",
    ]


def test_apia_2011_a_whole_day_that_does_not_exist() -> None:
    assert nights("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00Z", 3) == [
        "2011-12-29T12:00-10:00",
        "2011-12-31T00:00+14:00",
        "2011-12-31T12:00+14:00",
    ]
    assert nights("0 0 * * *", "Pacific/Apia", "2011-12-29T11:00Z", 2) == [
        "2011-12-31T00:00+14:00",
        "2012-01-01T00:00+14:00",
    ]
    assert nights("0 * * * *", "Pacific/Apia", "2011-12-30T08:30Z", 2) == [
        "2011-12-29T23:00-10:00",
        "2011-12-31T00:00+14:00",
    ]


def test_casablanca_puts_its_clocks_back_for_ramadan_and_forward_after_it() -> None:
    assert nights(
        "30 2 * * *", "Africa/Casablanca", "2026-02-14T12:00Z", 2, dst_fold=DstFold.BOTH
    ) == [
        "2026-02-15T02:30+01:00",
        "2026-02-15T02:30+00:00",
    ]
    assert nights("30 2 * * *", "Africa/Casablanca", "2026-03-21T12:00Z", 2) == [
        "2026-03-22T03:00+01:00",
        "2026-03-23T02:30+01:00",
    ]


@pytest.mark.parametrize(
    ("zone", "nine"),
    [
        ("Pacific/Kiritimati", "2026-01-01T09:00+14:00"),
        ("Pacific/Pago_Pago", "2026-01-01T09:00-11:00"),
        ("Asia/Kathmandu", "2026-01-01T09:00+05:45"),
        ("Pacific/Chatham", "2026-01-01T09:00+13:45"),
    ],
)
def test_far_and_odd_offsets(zone: str, nine: str) -> None:
    assert nights("0 9 1 1 *", zone, "2025-12-31T00:00Z", 1) == [nine]


def test_a_search_that_starts_inside_the_fold_finds_the_second_pass_only_when_it_counts() -> None:
    between_the_passes = "2026-10-25T01:00:00Z"
    assert nights("30 2 * * *", "Europe/Berlin", between_the_passes, 1) == [
        "2026-10-26T02:30+01:00"
    ]
    assert nights("30 2 * * *", "Europe/Berlin", between_the_passes, 1, dst_fold=DstFold.BOTH) == [
        "2026-10-25T02:30+01:00"
    ]


def test_a_yearly_run_in_the_last_fold_of_its_last_year_comes_in_both_passes() -> None:
    cadence = cron("30 1 1 11 * 2026", "America/New_York", dst_fold=DstFold.BOTH)
    assert local_times(cadence, "2026-01-01T00:00Z", 5) == [
        "2026-11-01T01:30-04:00",
        "2026-11-01T01:30-05:00",
    ]
