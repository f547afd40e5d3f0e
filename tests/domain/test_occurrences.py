"""Windows, exclusions, intervals, counting, looking back, jitter, and the ends of time."""

import itertools
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from schedules_pipeline.domain.cadence import Cadence, CronDayMatch
from schedules_pipeline.domain.occurrences import (
    count_occurrences,
    due_at,
    next_occurrence,
    occurrences,
    previous_occurrence,
)
from schedules_pipeline.errors import InvalidCadence
from tests.domain.time_tools import at, cron, local_times


def test_after_is_exclusive_and_until_is_inclusive() -> None:
    found = list(occurrences(cron("@hourly"), at("2026-01-01T01:00Z"), at("2026-01-01T03:00Z")))
    assert found == [at("2026-01-01T02:00Z"), at("2026-01-01T03:00Z")]


def test_answers_are_in_utc_wherever_the_question_comes_from() -> None:
    asked = datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    [found] = itertools.islice(occurrences(cron("@hourly", "Asia/Tokyo"), asked), 1)
    assert found == at("2026-01-01T01:00Z")
    assert found.tzinfo is UTC


def test_a_window_is_inclusive_at_both_ends() -> None:
    cadence = cron("@hourly", start_at=at("2026-01-01T01:00Z"), end_at=at("2026-01-01T03:00Z"))
    assert local_times(cadence, "2020-01-01T00:00Z", 9) == [
        "2026-01-01T01:00+00:00",
        "2026-01-01T02:00+00:00",
        "2026-01-01T03:00+00:00",
    ]
    assert previous_occurrence(cadence, at("2099-01-01T00:00Z")) == at("2026-01-01T03:00Z")
    assert previous_occurrence(cadence, at("2026-01-01T01:00Z")) is None


def test_fractional_bounds_of_a_window_are_compared_exactly() -> None:
    def window(start: str, end: str) -> list[str]:
        cadence = cron("@hourly", start_at=at(start), end_at=at(end))
        return [text[11:16] for text in local_times(cadence, "2020-01-01T00:00Z", 9)]

    assert window("2026-01-01T01:00:00.000001Z", "2026-01-01T02:59:59.999999Z") == ["02:00"]
    assert window("2026-01-01T00:59:59.999999Z", "2026-01-01T02:00:00.000001Z") == [
        "01:00",
        "02:00",
    ]
    assert window("2026-01-01T01:00:00.5Z", "2026-01-01T01:59:00Z") == []


def test_a_fractional_instant_asks_about_the_whole_seconds_beyond_it() -> None:
    hourly = cron("@hourly")
    assert next_occurrence(hourly, at("2026-01-01T00:59:59.999999Z")) == at("2026-01-01T01:00Z")
    assert next_occurrence(hourly, at("2026-01-01T01:00:00.000001Z")) == at("2026-01-01T02:00Z")
    assert previous_occurrence(hourly, at("2026-01-01T01:00:00.000001Z")) == at("2026-01-01T01:00Z")
    assert previous_occurrence(hourly, at("2026-01-01T01:00:00Z")) == at("2026-01-01T00:00Z")


def test_intervals_count_from_the_unix_epoch_plus_their_phase() -> None:
    cadence = Cadence(interval_seconds=7_200, interval_phase_seconds=90)
    assert local_times(cadence, "2026-01-01T00:01:30Z", 2) == [
        "2026-01-01T02:01:30+00:00",
        "2026-01-01T04:01:30+00:00",
    ]
    assert cron("@every 2h/90s") != cadence
    assert local_times(cron("@every 2h/1m30s"), "2026-01-01T00:00Z", 1) == local_times(
        cadence, "2026-01-01T00:00Z", 1
    )


def test_an_interval_knows_no_zone_on_a_night_when_clocks_change() -> None:
    cadence = Cadence(interval_seconds=3_600, timezone="Europe/Berlin")
    assert local_times(cadence, "2026-10-24T23:30Z", 3) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_an_exclusion_without_seconds_leaves_out_whole_minutes() -> None:
    cadence = Cadence(interval_seconds=30, exclude_cron=("1 * * * *",))
    assert local_times(cadence, "2026-01-01T00:00:00Z", 3) == [
        "2026-01-01T00:00:30+00:00",
        "2026-01-01T00:02+00:00",
        "2026-01-01T00:02:30+00:00",
    ]


def test_an_exclusion_with_seconds_leaves_out_those_seconds() -> None:
    cadence = Cadence(interval_seconds=30, exclude_cron=("30 1 * * * * *",))
    assert local_times(cadence, "2026-01-01T00:00:30Z", 2) == [
        "2026-01-01T00:01+00:00",
        "2026-01-01T00:02+00:00",
    ]


def test_exclusions_leave_out_days_hours_and_years_in_the_schedules_zone() -> None:
    cadence = cron(
        "0 */6 * * *",
        "Asia/Tokyo",
        exclude_cron=("* * * * sat,sun", "* 0-5 * * *", "* * * * * 2027"),
    )
    assert local_times(cadence, "2026-01-02T03:30Z", 3) == [
        "2026-01-02T18:00+09:00",
        "2026-01-05T06:00+09:00",
        "2026-01-05T12:00+09:00",
    ]
    assert local_times(cadence, "2026-12-31T09:00Z", 1) == ["2028-01-03T06:00+09:00"]
    assert previous_occurrence(cadence, at("2028-01-02T21:00Z")) == at("2026-12-31T09:00Z")


def test_an_excluded_day_ends_where_it_ends_on_a_night_when_clocks_change() -> None:
    # 29 March 2026 has 23 hours in Berlin: neither neighbour may lose one to it.
    cadence = cron("0 * * * *", "Europe/Berlin", exclude_cron=("* * 29 3 *",))
    assert local_times(cadence, "2026-03-28T21:30Z", 2) == [
        "2026-03-28T23:00+01:00",
        "2026-03-30T00:00+02:00",
    ]
    assert previous_occurrence(cadence, at("2026-03-29T22:00Z")) == at("2026-03-28T22:00Z")
    # 25 October has 25.
    cadence = cron("0 * * * *", "Europe/Berlin", exclude_cron=("* * 25 10 *",))
    assert local_times(cadence, "2026-10-24T20:30Z", 2) == [
        "2026-10-24T23:00+02:00",
        "2026-10-26T00:00+01:00",
    ]
    assert previous_occurrence(cadence, at("2026-10-25T23:00Z")) == at("2026-10-24T21:00Z")


def test_an_exclusion_reads_both_day_fields_as_the_cadence_does() -> None:
    friday_13th = cron("0 0 * * *", exclude_cron=("* * 13 * fri",), cron_day_match=CronDayMatch.ALL)
    after = "2026-02-11T12:00Z"
    assert local_times(friday_13th, after, 2) == [
        "2026-02-12T00:00+00:00",
        "2026-02-14T00:00+00:00",
    ]


def test_a_moved_occurrence_is_excluded_by_the_time_it_moved_to() -> None:
    after = "2026-03-28T12:00Z"
    by_its_own_hour = cron("30 2 * * *", "Europe/Berlin", exclude_cron=("* 2 * * *",))
    assert local_times(by_its_own_hour, after, 2) == [
        "2026-03-29T03:00+02:00",
        "2027-03-28T03:00+02:00",
    ]
    by_the_hour_after = cron("30 2 * * *", "Europe/Berlin", exclude_cron=("* 3 * * *",))
    assert local_times(by_the_hour_after, after, 1) == ["2026-03-30T02:30+02:00"]


def test_counting_agrees_with_listing_over_a_year_of_berlin() -> None:
    start, end = at("2026-01-01T00:00Z"), at("2027-01-01T00:00Z")
    for expression in ("30 2 * * *", "*/30 * * * *", "0 9 * * mon-fri", "7,30 2 * * * * *"):
        for excluded in ((), ("* * * * sun", "* 12-13 * * *")):
            cadence = cron(expression, "Europe/Berlin", exclude_cron=excluded)
            listed = sum(1 for _ in occurrences(cadence, start, end))
            assert count_occurrences(cadence, start, end) == listed


def test_counting_a_century_of_minutes_and_seconds_is_arithmetic() -> None:
    start, end = at("2000-01-01T00:00Z"), at("2100-01-01T00:00Z")
    began = time.process_time()
    assert count_occurrences(Cadence(interval_seconds=1), start, end) == 36_525 * 86_400
    assert count_occurrences(cron("* * * * *", "Europe/Berlin"), start, end) == 36_525 * 1_440
    assert count_occurrences(cron("* * * * *", exclude_cron=("* * * * sun",)), start, end) == (
        (36_525 - 5_218) * 1_440
    )
    assert time.process_time() - began < 5


def test_counting_backwards_counts_nothing() -> None:
    later, earlier = at("2026-01-02T00:00Z"), at("2026-01-01T00:00Z")
    for cadence in (cron("@hourly"), Cadence(interval_seconds=60), Cadence(fire_at=later)):
        assert count_occurrences(cadence, later, earlier) == 0


def test_counting_gives_up_on_millions_of_exclusions_and_says_so() -> None:
    cadence = cron("* * * * *", exclude_cron=("*/2 * * * *",))
    with pytest.raises(InvalidCadence, match=r"counting gave up at 2000-03-10.* shorter range"):
        count_occurrences(cadence, at("2000-01-01T00:00Z"), at("2100-01-01T00:00Z"))


def test_a_search_past_exclusions_gives_up_in_both_directions_and_says_so() -> None:
    cadence = cron("* * * * *", exclude_cron=("*/2 * * * *", "1-59/2 * * * *"))
    message = "exclude_cron: the search gave up at .* after 20,000 excluded spans in a row"
    with pytest.raises(InvalidCadence, match=message):
        next_occurrence(cadence, at("2026-01-01T00:00Z"))
    with pytest.raises(InvalidCadence, match=message):
        previous_occurrence(cadence, at("2026-01-01T00:00Z"))


def test_listing_a_range_does_not_search_beyond_it() -> None:
    cadence = cron(
        "* * * * *",
        exclude_cron=("*/2 * * * * 2027-2100", "1-59/2 * * * * 2027-2100"),
    )
    last_minute = at("2026-12-31T23:59:00Z")
    assert list(occurrences(cadence, at("2026-12-31T23:58:00Z"), last_minute)) == [last_minute]
    with pytest.raises(InvalidCadence, match="the search gave up"):
        next_occurrence(cadence, last_minute)


def test_exclusions_of_whole_years_are_passed_in_one_step() -> None:
    cadence = Cadence(interval_seconds=1, exclude_cron=("* * * * * 2027-2090",))
    assert next_occurrence(cadence, at("2026-12-31T23:59:59Z")) == at("2091-01-01T00:00:00Z")
    assert previous_occurrence(cadence, at("2091-01-01T00:00Z")) == at("2026-12-31T23:59:59Z")


@pytest.mark.parametrize(
    "cadence",
    [
        cron("* * * * * * *"),
        cron("* * * * * * *", "Pacific/Kiritimati"),
        cron("* * * * * * *", "Pacific/Pago_Pago"),
        Cadence(interval_seconds=1),
    ],
)
def test_occurrences_exist_from_2000_to_2100(cadence: Cadence) -> None:
    first, last = at("2000-01-01T00:00:00Z"), at("2100-12-31T23:59:59Z")
    long_ago = datetime.min.replace(tzinfo=UTC)
    far_ahead = datetime.max.replace(tzinfo=UTC)
    assert next_occurrence(cadence, long_ago) == first
    assert previous_occurrence(cadence, first) is None
    assert previous_occurrence(cadence, far_ahead) == last
    assert next_occurrence(cadence, last) is None
    assert next_occurrence(cadence, far_ahead) is None
    assert previous_occurrence(cadence, long_ago) is None


def test_a_leap_day_on_a_monday_is_found_over_decades() -> None:
    cadence = cron("0 0 29 2 mon", cron_day_match=CronDayMatch.ALL)
    # Every 28 years; the next one, 40 years on, is past the horizon, for 2100 is no leap year.
    assert local_times(cadence, "2000-01-01T00:00Z", 9) == [
        "2016-02-29T00:00+00:00",
        "2044-02-29T00:00+00:00",
        "2072-02-29T00:00+00:00",
    ]


def test_jitter_is_repeatable_within_bounds_and_spread_out() -> None:
    cadence = cron("0 * * * *", jitter_seconds=600)
    nominals = list(occurrences(cadence, at("2026-01-01T00:00Z"), at("2026-02-01T00:00Z")))
    delays = [due_at(cadence, "a", nominal) - nominal for nominal in nominals]
    assert delays == [due_at(cadence, "a", nominal) - nominal for nominal in nominals]
    assert all(timedelta() <= delay < timedelta(seconds=600) for delay in delays)
    assert all(delay.microseconds % 1_000 == 0 for delay in delays)
    assert any(delay.microseconds for delay in delays)
    mean = sum(delays, timedelta()) / len(delays)
    assert timedelta(seconds=270) < mean < timedelta(seconds=330)
    assert delays != [due_at(cadence, "b", nominal) - nominal for nominal in nominals]


def test_jitter_is_the_same_in_every_release() -> None:
    nominal = at("2026-06-24T09:00Z")
    cadence = cron("0 9 * * *", jitter_seconds=3_600)
    assert due_at(cadence, "schedule-1", nominal) == at("2026-06-24T09:23:50.877Z")


def test_jitter_never_reaches_the_next_raw_occurrence() -> None:
    cadence = cron("* * * * *", jitter_seconds=86_400)
    nominals = list(occurrences(cadence, at("2026-01-01T00:00Z"), at("2026-01-01T06:00Z")))
    due = [due_at(cadence, "a", nominal) for nominal in nominals]
    assert all(left < right for left, right in itertools.pairwise(due))
    assert all(
        moment < nominal + timedelta(minutes=1)
        for moment, nominal in zip(due, nominals, strict=True)
    )


def test_an_exclusion_or_a_window_moves_no_other_fire() -> None:
    plain = cron("* * * * *", jitter_seconds=3_600)
    nominal = at("2026-01-01T00:01Z")
    others = [
        cron("* * * * *", jitter_seconds=3_600, exclude_cron=("2-59 * * * *",)),
        cron("* * * * *", jitter_seconds=3_600, end_at=nominal),
    ]
    assert {due_at(other, "a", nominal) for other in others} == {due_at(plain, "a", nominal)}


def test_without_jitter_a_fire_is_due_when_it_is_nominal() -> None:
    nominal = at("2026-06-24T09:00Z")
    assert due_at(cron("0 9 * * *"), "a", nominal) == nominal


def test_the_last_occurrence_of_all_has_the_whole_jitter() -> None:
    once = Cadence(fire_at=at("2026-06-24T09:00Z"), jitter_seconds=86_400)
    delay = due_at(once, "a", at("2026-06-24T09:00Z")) - at("2026-06-24T09:00Z")
    assert timedelta() <= delay < timedelta(days=1)
