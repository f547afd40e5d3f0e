"""The cron dialect: what is understood, and what is refused with which words."""

import re
from itertools import islice

import pytest

from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, compile_cadence, validate
from schedules_pipeline.domain.expression import Every, Fields, parse
from schedules_pipeline.domain.occurrences import occurrences
from schedules_pipeline.errors import InvalidCadence
from tests.domain.time_tools import at, cron, local_times


def fields(text: str) -> tuple[str, ...]:
    when = parse(text).when
    assert isinstance(when, Fields)
    names = (when.second, when.minute, when.hour, when.day_of_month, when.month, when.day_of_week)
    return (*names, when.year)


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("1 2 3 4 5", ("0", "1", "2", "3", "4", "5", "*")),
        ("1 2 3 4 5 2030", ("0", "1", "2", "3", "4", "5", "2030")),
        ("9 1 2 3 4 5 2030-2032/2", ("9", "1", "2", "3", "4", "5", "2030-2032/2")),
        ("  0\t0  * * * ", ("0", "0", "0", "*", "*", "*", "*")),
        ("0 0 * jan,Sept,DECEMBER *", ("0", "0", "0", "*", "1,9,12", "*", "*")),
        ("0 0 * * thu", ("0", "0", "0", "*", "*", "4", "*")),
        ("0 0 * * Thurs,TUESD", ("0", "0", "0", "*", "*", "4,2", "*")),
        ("0 0 * * mon-fri/2", ("0", "0", "0", "*", "*", "1-5/2", "*")),
        ("0 0 * * sat-sun", ("0", "0", "0", "*", "*", "6-7", "*")),
        ("0 0 * * sun-tue", ("0", "0", "0", "*", "*", "0-2", "*")),
        ("0 0 * * 5-7", ("0", "0", "0", "*", "*", "5-7", "*")),
        ("0 0 L * *", ("0", "0", "0", "L", "*", "*", "*")),
        ("0 0 1,lw * *", ("0", "0", "0", "1,LW", "*", "*", "*")),
        ("0 0 * * friL", ("0", "0", "0", "*", "*", "5L", "*")),
        ("0 0 * * mon#1,3#5", ("0", "0", "0", "*", "*", "1#1,3#5", "*")),
        ("@hourly", ("0", "0", "*", "*", "*", "*", "*")),
        ("@Daily", ("0", "0", "0", "*", "*", "*", "*")),
        ("@midnight", ("0", "0", "0", "*", "*", "*", "*")),
        ("@weekly", ("0", "0", "0", "*", "*", "0", "*")),
        ("@monthly", ("0", "0", "0", "1", "*", "*", "*")),
        ("@yearly", ("0", "0", "0", "1", "1", "*", "*")),
        ("@annually", ("0", "0", "0", "1", "1", "*", "*")),
    ],
)
def test_fields_names_and_shorthands_are_understood(text: str, understood: tuple[str, ...]) -> None:
    assert fields(text) == understood


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("@every 90m", Every(5_400)),
        ("@every 1h30m", Every(5_400)),
        ("@every 5h/45m", Every(18_000, 2_700)),
        ("@every 2d", Every(172_800)),
        ("@EVERY 1s/0s", Every(1)),
    ],
)
def test_every_takes_a_duration_and_a_phase(text: str, every: Every) -> None:
    assert parse(text).when == every


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty; write for example '0 9 * * mon-fri'"),
        ("* * * *", "'* * * *' has 4 fields: use 5 (minute hour day-of-month month day-of-week)"),
        ("* * * * * * * *", "has 8 fields"),
        ("60 * * * *", "minute '60' is not a value of 0-59 (in '60 * * * *')"),
        ("* 24 * * *", "hour '24' is not a value of 0-23"),
        ("* * 0 * *", "day-of-month '0' is not a value of 1-31"),
        ("* * * 13 *", "month '13' is not a value of 1-12 or jan-dec"),
        ("* * * ju *", "month 'ju' is not a value of 1-12 or jan-dec"),
        ("* * * janx *", "month 'janx' is not a value of"),
        ("* * * * 8", "day-of-week '8' is not a value of 0-7 or sun-sat"),
        ("* * * * * 1999", "year '1999' is not a value of 2000-2100"),
        ("* * * * * 2101", "year '2101' is not a value of 2000-2100"),
        ("61 * * * * * *", "second '61' is not a value of 0-59"),
        ("-5 * * * *", "minute '-5' has a dangling '-'"),
        ("5- * * * *", "minute '5-' has a dangling '-': write a range as 'a-b'"),
        ("5, * * * *", "minute '5,' has a dangling ',' or '/'"),
        ("*/ * * * *", "minute '*/' has a dangling ',' or '/'"),
        ("1-5-7 * * * *", "minute '1-5-7' has more than one '-'"),
        ("*/0 * * * *", "minute '*/0': the step must be at least 1"),
        ("*/-2 * * * *", "minute '*/-2': the step '-2' is not a whole number"),
        ("*/2/3 * * * *", "the step '2/3' is not a whole number"),
        ("* 18-13 * * *", "hour '18-13' wraps around: write it as two ranges, '18-23,0-13'"),
        ("* * * * fri-tue", "day-of-week 'fri-tue' wraps around: write it as two ranges, "),
        ("* * * * 6-0", "day-of-week '6-0' wraps around"),
        ("* * * * L", "day-of-week 'L' names no day: write the last Friday as '5L' or 'friL'"),
        ("* * * * 5#6", "day-of-week '5#6': after '#' comes the week of the month, 1-5"),
        ("* * * * 5#", "day-of-week '5#': after '#' comes the week of the month, 1-5"),
        ("* * L/2 * *", "day-of-month 'L/2': 'L' takes no step"),
        ("* * L-3 * *", "day-of-month 'L' is not a value of 1-31"),
        ("? * * * *", "minute '?' is not a value of 0-59"),
        ("² * * * *", "minute '²' is not a value of 0-59"),
        ("@reboot", "'@reboot' is not known; use one of @hourly, @daily"),
        ("@every", "'' is not a duration"),
        ("@every 0s", "'@every 0s': the interval must be at least 1s"),
        ("@every 90", "'90' is not a duration: write whole days, hours, minutes and seconds"),
        ("@every 1.5h", "'1.5h' is not a duration"),
        ("@every 3h/4h", "'@every 3h/4h': the phase must be shorter than the interval (10800 s)"),
        ("@every 99999999999d", "'99999999999d': the interval must be at most 36600d"),
        ("CRON_TZ= 0 0 * * *", "'CRON_TZ=' names no zone"),
        ("CRON_TZ=UTC", "is empty"),
        ("CRON_TZ=Mars/Base 0 0 * * *", "'Mars/Base' is not an IANA time zone"),
        ("0 " * 600, "is longer than 1000 characters"),
        ("0 0 30 2 *", "'0 0 30 2 *' names a time that never comes between 2000 and 2100"),
        ("0 0 31 4,6,9,11 *", "names a time that never comes"),
        ("0 0 29 2 * 2100", "names a time that never comes"),
    ],
)
def test_what_is_not_understood_is_refused_and_the_text_says_what_to_do(
    text: str, complaint: str
) -> None:
    with pytest.raises(InvalidCadence, match=re.escape("cron_expression: ")) as refused:
        validate(Cadence(cron_expression=text))
    assert complaint in str(refused.value)
    assert refused.value.field == "cron_expression"
    assert len(str(refused.value)) < 400


def test_either_day_field_is_enough_unless_all_is_asked_for() -> None:
    friday_or_13th = cron("0 0 13 * fri")
    assert local_times(friday_or_13th, "2026-03-06T00:00Z", 3) == [
        "2026-03-13T00:00+00:00",
        "2026-03-20T00:00+00:00",
        "2026-03-27T00:00+00:00",
    ]
    friday_13th = cron("0 0 13 * fri", cron_day_match=CronDayMatch.ALL)
    assert local_times(friday_13th, "2026-03-06T00:00Z", 2) == [
        "2026-03-13T00:00+00:00",
        "2026-11-13T00:00+00:00",
    ]


def test_a_day_field_that_begins_with_a_star_restricts_the_other() -> None:
    assert local_times(cron("0 0 */2 * mon"), "2026-03-01T12:00Z", 3) == [
        "2026-03-09T00:00+00:00",
        "2026-03-23T00:00+00:00",
        "2026-04-13T00:00+00:00",
    ]


def test_last_day_last_friday_and_third_wednesday() -> None:
    after = "2028-02-01T12:00Z"
    assert local_times(cron("0 0 L * *"), after, 1) == ["2028-02-29T00:00+00:00"]
    assert local_times(cron("0 0 LW * *"), "2026-05-01T12:00Z", 1) == ["2026-05-29T00:00+00:00"]
    assert local_times(cron("0 0 * * friL"), after, 1) == ["2028-02-25T00:00+00:00"]
    assert local_times(cron("0 0 * * wed#3"), after, 1) == ["2028-02-16T00:00+00:00"]
    assert local_times(cron("0 0 * * tue#5"), after, 1) == ["2028-02-29T00:00+00:00"]


def test_sunday_is_zero_and_seven() -> None:
    for day in ("0", "7", "sun"):
        found = local_times(cron(f"0 0 * * {day}"), "2026-03-02T00:00Z", 1)
        assert found == ["2026-03-08T00:00+00:00"]


def test_seconds_come_first_and_years_last() -> None:
    assert local_times(cron("*/25 59 23 31 12 * 2027,2029"), "2026-01-01T00:00Z", 9) == [
        "2027-12-31T23:59+00:00",
        "2027-12-31T23:59:25+00:00",
        "2027-12-31T23:59:50+00:00",
        "2029-12-31T23:59+00:00",
        "2029-12-31T23:59:25+00:00",
        "2029-12-31T23:59:50+00:00",
    ]


def test_a_zone_prefix_says_the_zone() -> None:
    tokyo = cron("CRON_TZ=Asia/Tokyo 0 9 * * *")
    assert list(islice(occurrences(tokyo, at("2026-01-01T12:00Z")), 1)) == [at("2026-01-02T00:00Z")]
    validate(cron("CRON_TZ=Asia/Tokyo 0 9 * * *", "Asia/Tokyo"))
    with pytest.raises(InvalidCadence) as refused:
        validate(cron("CRON_TZ=Asia/Tokyo 0 9 * * *", "Europe/Berlin"))
    assert str(refused.value) == (
        "timezone: 'Europe/Berlin' contradicts 'CRON_TZ=Asia/Tokyo' in cron_expression; "
        "give one of them"
    )


def test_a_cadence_is_compiled_once() -> None:
    assert compile_cadence(cron("*/7 * * * *")) is compile_cadence(cron("*/7 * * * *"))
