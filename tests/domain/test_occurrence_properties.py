"""What must hold for every expression, in every zone, on every night of the year."""

import os
import random
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, DstFold, DstGap, validate
from schedules_pipeline.domain.occurrences import (
    count_occurrences,
    next_occurrence,
    occurrences,
    previous_occurrence,
)
from schedules_pipeline.domain.zones import load_zone
from schedules_pipeline.errors import InvalidCadence
from tests.domain.reference import scan
from tests.domain.strategies import patterns, seconds_around, transitions
from tests.domain.time_tools import at, cron

MINUTE = timedelta(minutes=1)
EXAMPLES = int(os.environ.get("SCHEDULES_TEST_EXAMPLES", "100"))
"""Per property. 100 take some 15 s in all; before a release, ask for 20,000."""

profile = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=EXAMPLES <= 100,
)
policies = st.tuples(st.sampled_from(DstGap), st.sampled_from(DstFold))


@profile
@given(st.data(), policies, transitions(), st.sampled_from(CronDayMatch))
def test_occurrences_are_those_of_a_scan_of_every_minute(
    data: st.DataObject,
    policy: tuple[DstGap, DstFold],
    change: tuple[object, datetime],
    day_match: CronDayMatch,
) -> None:
    zone, moment = load_zone(change[0].name), change[1]  # type: ignore[attr-defined]
    pattern = data.draw(patterns(match_all=day_match is CronDayMatch.ALL))
    cadence = cron(
        pattern.text, zone.name, dst_gap=policy[0], dst_fold=policy[1], cron_day_match=day_match
    )
    start, end = moment - timedelta(days=1), moment + timedelta(days=1, hours=2)
    expected = scan(pattern, zone.rules, start, end, *policy)
    found = list(occurrences(cadence, start - MINUTE, end - MINUTE))
    assert found == expected
    assert count_occurrences(cadence, start - MINUTE, end - MINUTE) == len(expected)
    for left, right in pairwise(expected[:100]):
        assert previous_occurrence(cadence, right) == left


@st.composite
def cadences(draw: st.DrawFn) -> tuple[Cadence, datetime]:
    """Any kind of cadence, and an instant near a change of its zone's clocks."""
    zone, moment = draw(transitions())
    gap, fold = draw(policies)
    window = draw(st.sampled_from([None, None, 1, 20]))
    more = {
        "timezone": zone.name,
        "dst_gap": gap,
        "dst_fold": fold,
        "start_at": draw(seconds_around(moment, 1)) if window else None,
        "end_at": moment + timedelta(days=window) if window else None,
        "exclude_cron": tuple(p.text for p in draw(st.lists(patterns(), max_size=2))),
    }
    if draw(st.integers(0, 3)) == 0:
        seconds = draw(st.integers(600, 100_000))
        phase = draw(st.integers(0, seconds - 1))
        return Cadence(interval_seconds=seconds, interval_phase_seconds=phase, **more), moment
    expression = draw(patterns()).text
    if draw(st.booleans()):
        expression = f"{draw(st.sampled_from(['0', '7,30', '*/20']))} {expression} *"
    return Cadence(cron_expression=expression, **more), moment


def _some(cadence: Cadence, after: datetime, count: int) -> list[datetime]:
    """The first occurrences; what exclusions swallow for too long ends the list."""
    found = []
    try:
        for moment in islice(occurrences(cadence, after), count):
            found.append(moment)  # kept when the search gives up half-way
    except InvalidCadence as gave_up:
        assert "gave up" in str(gave_up)  # noqa: PT017
    return found


@profile
@given(cadences(), st.data())
def test_occurrences_strictly_increase_and_previous_undoes_next(
    given_cadence: tuple[Cadence, datetime], data: st.DataObject
) -> None:
    cadence, moment = given_cadence
    after = data.draw(seconds_around(moment, 1.5))
    found = _some(cadence, after, 30)
    assert all(left < right for left, right in pairwise([after, *found]))
    assert all(at.microsecond == 0 and at.tzinfo is UTC for at in found)
    for left, right in pairwise(found):
        assert previous_occurrence(cadence, right) == left
        assert previous_occurrence(cadence, right - timedelta(microseconds=1)) == left
        assert previous_occurrence(cadence, left + timedelta(microseconds=1)) == left
        assert next_occurrence(cadence, right - timedelta(microseconds=1)) == right
        assert next_occurrence(cadence, left) == right
    if cadence.start_at and cadence.end_at:
        assert all(cadence.start_at <= at <= cadence.end_at for at in found)


@profile
@given(cadences(), st.data())
def test_splitting_a_range_gives_the_same_occurrences(
    given_cadence: tuple[Cadence, datetime], data: st.DataObject
) -> None:
    cadence, moment = given_cadence
    start, end = moment - timedelta(days=1), moment + timedelta(hours=6)
    middle = data.draw(seconds_around(moment, 0.25))
    whole = list(occurrences(cadence, start, end))
    parts = [*occurrences(cadence, start, middle), *occurrences(cadence, middle, end)]
    assert parts == whole
    assert count_occurrences(cadence, start, end) == len(whole)
    assert count_occurrences(cadence, start, middle) + count_occurrences(
        cadence, middle, end
    ) == len(whole)


_CRON_LETTERS = "0123456789*/,-L#W@ \tmonfrijaneverydhCRON_TZ=UTC²"


@profile
@given(
    st.one_of(
        st.text(_CRON_LETTERS, max_size=40),
        st.text(max_size=30),
        st.lists(st.text("0123456789*/,-L#", min_size=1, max_size=5), min_size=5, max_size=7).map(
            " ".join
        ),
    ),
    st.datetimes(timezones=st.just(UTC)),
)
def test_no_text_and_no_instant_does_more_than_be_refused(text: str, moment: datetime) -> None:
    cadence = Cadence(cron_expression=text)
    try:
        validate(cadence)
    except InvalidCadence as refused:
        assert refused.field in ("cron_expression", "timezone")  # noqa: PT017
        return
    following = next_occurrence(cadence, moment)
    assert following is None or following > moment
    preceding = previous_occurrence(cadence, moment)
    assert preceding is None or preceding < moment


def _random_expression(rng: random.Random) -> str:
    def field(first: int, last: int) -> str:
        kind = rng.randrange(7)
        low, high = sorted((rng.randint(first, last), rng.randint(first, last)))
        if kind <= 2:
            return "*"
        if kind == 3:
            return str(low)
        if kind == 4:
            return f"{low}-{high}"
        if kind == 5:
            return f"*/{rng.randint(1, last)}"
        return f"{low},{high}"

    return " ".join(field(*span) for span in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6)))


def test_ten_thousand_expressions_agree_with_cronsim_where_clocks_stand_still() -> None:
    rng = random.Random(4)  # the same ones each time
    compared = 0
    while compared < 10_000:
        expression = _random_expression(rng)
        after = at("2026-04-02T10:20:30Z") + timedelta(seconds=rng.randrange(150 * 86_400))
        zone = rng.choice(("UTC", "Asia/Kolkata", "Europe/Berlin"))
        try:
            simulator = CronSim(expression, after.astimezone(ZoneInfo(zone)))
        except CronSimError:
            assert next_occurrence(cron(expression, zone), after) is None
            continue
        expected = [found.astimezone(UTC) for found in islice(simulator, 2)]
        # Berlin's clocks stand still from April until the autumn night.
        if zone == "Europe/Berlin":
            expected = [found for found in expected if found < at("2026-10-24T22:00Z")]
        found = list(islice(occurrences(cron(expression, zone), after), len(expected)))
        assert found == expected, (expression, zone, after)
        compared += 1
