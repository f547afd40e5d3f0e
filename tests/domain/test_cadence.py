"""What a cadence may be, and what is refused before it can surprise anybody."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schedules_pipeline.domain.cadence import Cadence, DstGap, validate, validate_new
from schedules_pipeline.domain.occurrences import next_occurrence, occurrences
from schedules_pipeline.errors import InvalidCadence
from tests.domain.time_tools import at, cron

NOW = at("2026-06-24T09:00:00Z")


@pytest.mark.parametrize(
    ("cadence", "message"),
    [
        (
            Cadence(),
            "cron_expression: is missing; give cron_expression, interval_seconds or fire_at",
        ),
        (
            Cadence(cron_expression="@daily", interval_seconds=60),
            "interval_seconds: cannot stand beside cron_expression; give one of them",
        ),
        (
            Cadence(interval_seconds=60, fire_at=NOW),
            "fire_at: cannot stand beside interval_seconds; give one of them",
        ),
        (
            Cadence(interval_seconds=0),
            "interval_seconds: 0 is not within 1 to 3,162,240,000 seconds",
        ),
        (
            Cadence(interval_seconds=10**15),
            "interval_seconds: 1000000000000000 is not within 1 to 3,162,240,000 seconds",
        ),
        (
            Cadence(interval_seconds=60, interval_phase_seconds=60),
            "interval_phase_seconds: 60 is not at least 0 and less than interval_seconds (60)",
        ),
        (
            Cadence(interval_seconds=60, interval_phase_seconds=-1),
            "interval_phase_seconds: -1 is not at least 0 and less than interval_seconds (60)",
        ),
        (
            cron("@daily", interval_phase_seconds=5),
            "interval_phase_seconds: belongs to interval_seconds, which is not given",
        ),
        (
            cron("@daily", start_at=NOW.replace(tzinfo=None)),
            "start_at: 2026-06-24T09:00:00 has no offset; write for example '…T09:00:00Z'",
        ),
        (
            cron("@daily", start_at=NOW, end_at=at("2026-06-24T08:59:59Z")),
            "end_at: 2026-06-24T08:59:59+00:00 is before start_at (2026-06-24T09:00:00+00:00)",
        ),
        (
            Cadence(fire_at=at("1999-12-31T23:00:00Z")),
            "fire_at: 1999-12-31T23:00:00+00:00 is outside 2000-2100",
        ),
        (
            cron("@daily", jitter_seconds=-1),
            "jitter_seconds: -1 is not within 0 to 86400 seconds",
        ),
        (
            cron("@daily", jitter_seconds=86_401),
            "jitter_seconds: 86401 is not within 0 to 86400 seconds",
        ),
        (
            cron("@daily", exclude_cron=("0 25 * * *",)),
            "exclude_cron: hour '25' is not a value of 0-23 (in '0 25 * * *')",
        ),
        (
            cron("@daily", exclude_cron=("@every 5m",)),
            "exclude_cron: '@every 5m' is an interval; give cron fields",
        ),
        (
            cron("@daily", "Europe/Berlin", exclude_cron=("CRON_TZ=Asia/Tokyo * 1 * * *",)),
            "exclude_cron: 'CRON_TZ=Asia/Tokyo * 1 * * *' names another zone than the schedule's, "
            "'Europe/Berlin'",
        ),
        (
            cron("@daily", exclude_cron=("* 1 * * *",) * 51),
            "exclude_cron: holds more than 50 expressions",
        ),
        (
            cron("30 2 29 3 * 2026", "Europe/Berlin", dst_gap=DstGap.SKIP),
            "cron_expression: '30 2 29 3 * 2026' names a time that never comes between 2000 and "
            "2100; look at day-of-month, month and year together",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_fix(cadence: Cadence, message: str) -> None:
    with pytest.raises(InvalidCadence) as refused:
        validate(cadence)
    assert str(refused.value) == message
    assert refused.value.field == message.partition(":")[0]


def test_a_cadence_without_any_kind_is_refused_even_unvalidated() -> None:
    with pytest.raises(InvalidCadence, match="cron_expression: is missing"):
        next_occurrence(Cadence(), NOW)


def test_an_unknown_zone_is_refused_for_intervals_too() -> None:
    with pytest.raises(InvalidCadence, match="timezone: 'Nowhere' is not an IANA time zone"):
        validate(Cadence(interval_seconds=60, timezone="Nowhere"))


@pytest.mark.parametrize(
    ("cadence", "message"),
    [
        (
            Cadence(fire_at=NOW),
            "fire_at: 2026-06-24T09:00:00+00:00 is past (it is 2026-06-24T09:00:00+00:00); "
            "name an instant ahead",
        ),
        (
            cron("0 0 1 1 * 2025"),
            "cron_expression: never fires again after 2026-06-24T09:00:00+00:00; it has no "
            "occurrence left up to the year 2100",
        ),
        (
            cron("@daily", end_at=at("2026-06-24T08:00:00Z")),
            "cron_expression: never fires again after 2026-06-24T09:00:00+00:00; end_at "
            "(2026-06-24T08:00:00+00:00) is past",
        ),
        (
            Cadence(interval_seconds=3_600, exclude_cron=("* * * * *",)),
            "interval_seconds: never fires again after 2026-06-24T09:00:00+00:00; look at "
            "start_at, end_at and exclude_cron, which leave nothing of it",
        ),
        (
            cron("* * * * *", exclude_cron=("*/2 * * * *", "1-59/2 * * * *")),
            "exclude_cron: the search gave up at 2026-07-08T06:20:59+00:00 after 20,000 excluded "
            "spans in a row; let the exclusions leave something of the cadence, or set end_at",
        ),
    ],
)
def test_a_new_cadence_with_nothing_ahead_is_refused(cadence: Cadence, message: str) -> None:
    validate(cadence)
    with pytest.raises(InvalidCadence) as refused:
        validate_new(cadence, NOW)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "cadence",
    [
        cron("*/5 * * * *"),
        cron("0 9 * * MON-FRI", "Europe/Berlin"),
        cron("0 0 29 2 *"),
        cron("30 2 8 3 *", "America/New_York", dst_gap=DstGap.SKIP),
        Cadence(interval_seconds=1),
        Cadence(interval_seconds=3_162_240_000),
        Cadence(fire_at=at("2026-06-24T09:00:00.001Z")),
        cron("@daily", end_at=datetime.max.replace(tzinfo=UTC)),
        cron("@daily", start_at=datetime.min.replace(tzinfo=UTC)),
        cron("@daily", jitter_seconds=86_400),
    ],
)
def test_what_makes_sense_is_taken(cadence: Cadence) -> None:
    validate_new(cadence, NOW)
    assert next_occurrence(cadence, NOW) is not None


def test_a_single_instant_fires_once_and_never_early() -> None:
    once = Cadence(fire_at=at("2026-06-24T11:00:00.25+02:00"))
    assert list(occurrences(once, at("2020-01-01T00:00Z"))) == [at("2026-06-24T09:00:01Z")]
    assert next_occurrence(once, at("2026-06-24T09:00:01Z")) is None


def test_equal_cadences_are_equal_and_can_be_kept_in_a_set() -> None:
    values: dict[str, Any] = {"exclude_cron": ("* 1 * * *",), "start_at": NOW}
    assert len({cron("@daily", **values), cron("@daily", **values)}) == 1
