"""From a clock's reading to fires and gaps: every branch of catching up, and coverage."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import GapReason
from schedules_pipeline.domain.occurrences import occurrences
from schedules_pipeline.domain.planning import (
    INSTANT,
    ClockReading,
    Gap,
    PlannedFire,
    SchedulePlan,
    first_occurrence,
    newer_is_due,
    plan_schedule,
)
from schedules_pipeline.domain.policies import CatchupPolicy, Policies
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.domain.slices import planning_frontier
from tests.factories import a_schedule

HORIZON, GRACE = timedelta(seconds=30), timedelta(seconds=60)
NOW = datetime(2026, 6, 24, 9, 30, 10, tzinfo=UTC)


def at(clock: str) -> datetime:
    """A time of day of 24 June."""
    return datetime.fromisoformat(f"2026-06-24T{clock}+00:00")


def reading(cadence: Cadence, clock: datetime, **changes: Any) -> ClockReading:
    schedule = a_schedule(cadence=cadence, policies=changes.pop("policies", Policies()))
    first = first_occurrence(schedule, clock - INSTANT)
    assert first is not None
    values: dict[str, Any] = {
        "schedule": schedule,
        "acp_type": AcpType.ASYNC,
        "next_nominal_at": first[0],
        "next_due_at": first[1],
        "skips": frozenset(),
    }
    return ClockReading(**(values | changes))


def every(seconds: int, **window: datetime) -> Cadence:
    return Cadence(interval_seconds=seconds, **window)  # type: ignore[arg-type]


def plan(found: ClockReading, now: datetime = NOW, limit: int = 2_000) -> SchedulePlan:
    return plan_schedule(
        found, now=now, frontier=planning_frontier(now, HORIZON), grace=GRACE, limit=limit
    )


def nominals(found: SchedulePlan) -> list[datetime]:
    return [fire.nominal_at for fire in found.fires]


def test_a_clock_on_time_plans_what_is_due_before_the_frontier() -> None:
    found = plan(reading(every(20), at("09:30:20")))
    assert nominals(found) == [at("09:30:20"), at("09:30:40")]
    assert [fire.slice.key for fire in found.fires] == ["2026-06-24T09:30:00Z"] * 2
    assert found.gap is None
    assert found.next_at == (at("09:31:00"), at("09:31:00"))


def test_nothing_due_before_the_frontier_is_no_fire_and_no_gap() -> None:
    found = plan(reading(every(3_600), at("10:00")))
    assert (found.fires, found.gap) == ((), None)
    assert found.next_at == (at("10:00"), at("10:00"))


def test_a_synchronous_agents_fires_have_slices_of_their_own() -> None:
    found = plan(reading(every(60), at("09:30"), acp_type=AcpType.SYNC))
    assert [fire.slice.key for fire in found.fires] == ["2026-06-24T09:30:00Z/sync"]


def test_what_a_person_took_out_is_planned_as_skipped() -> None:
    found = plan(reading(every(20), at("09:30:20"), skips=frozenset({at("09:30:40")})))
    assert [fire.skipped for fire in found.fires] == [False, True]


def test_the_window_bounds_what_is_planned_inclusively() -> None:
    cadence = every(10, start_at=at("09:30:20"), end_at=at("09:30:40"))
    found = plan(reading(cadence, at("09:00")))
    assert nominals(found) == [at("09:30:20"), at("09:30:30"), at("09:30:40")]
    assert found.next_at is None


def test_a_fire_is_planned_at_most_up_to_the_limit_and_the_next_tick_goes_on() -> None:
    found = plan(reading(every(10), at("09:30:00")), limit=3)
    assert nominals(found) == [at("09:30:00"), at("09:30:10"), at("09:30:20")]
    rest = plan(replace(found.reading, next_nominal_at=at("09:30:30"), next_due_at=at("09:30:30")))
    assert found.next_at == (at("09:30:30"), at("09:30:30"))
    assert nominals(rest) == [at("09:30:30"), at("09:30:40"), at("09:30:50")]


# --- catching up: policy `latest` -----------------------------------------------------------------


def gap(from_at: str, to_at: str) -> Gap:
    return Gap(from_at=at(from_at), to_at=at(to_at), reason=GapReason.COALESCED)


def test_less_than_the_grace_behind_is_merely_late() -> None:
    found = plan(reading(every(60), at("09:29:10.000")), now=at("09:31:00"))
    assert nominals(found)[0] == at("09:30:00")
    assert found.gap is None
    assert found.fires[0].owed_at == at("09:30:00")


@pytest.mark.parametrize("outage_began", ["09:28:00", "08:00:00", "00:00:00"])
def test_a_clock_further_behind_begins_with_the_first_less_than_the_grace_late(
    outage_began: str,
) -> None:
    found = plan(reading(every(20), at(outage_began)))
    assert nominals(found)[:3] == [at("09:29:20"), at("09:29:40"), at("09:30:00")]
    assert found.gap == gap(outage_began, "09:29:20")
    assert all(fire.owed_at == fire.due_at for fire in found.fires)
    assert not any(fire.slice.key.endswith("backlog") for fire in found.fires)


def test_if_none_is_due_the_newest_within_the_window_is_made_up_now() -> None:
    found = plan(reading(every(3_600), at("05:00")))
    (made_up,) = found.fires
    assert (made_up.nominal_at, made_up.due_at, made_up.owed_at) == (at("09:00"), at("09:00"), NOW)
    assert made_up.slice.key == "2026-06-24T09:30:00Z/backlog"
    assert found.gap == gap("05:00:00", "09:00:00")
    assert found.next_at == (at("10:00"), at("10:00"))


def test_the_one_that_was_missed_is_the_newest_and_leaves_no_gap() -> None:
    found = plan(reading(every(3_600), at("09:00")))
    assert nominals(found) == [at("09:00")]
    assert found.gap is None


def test_nothing_older_than_the_window_is_made_up() -> None:
    found = plan(reading(every(7_200), at("04:00")), now=at("09:00:00.000001"))
    assert found.fires == ()
    # Not up to the next one at 10:00: what lies ahead may still change.
    assert found.gap == gap("04:00:00", "09:00:00.000001")
    assert found.next_at == (at("10:00"), at("10:00"))
    # An instant before, 08:00 was an hour old.
    assert nominals(plan(reading(every(7_200), at("04:00")), now=at("09:00"))) == [at("08:00")]


def test_an_exhausted_cadence_makes_up_its_last_within_the_window() -> None:
    found = plan(reading(every(600, end_at=at("09:05")), at("08:30")))
    assert nominals(found) == [at("09:00")]
    assert found.gap == gap("08:30:00", "09:00:00")
    assert found.next_at is None


def test_an_exhausted_cadence_older_than_the_window_is_a_gap_up_to_now() -> None:
    found = plan(reading(every(600, end_at=at("08:05")), at("07:30")))
    assert found.fires == ()
    assert found.gap == gap("07:30:00", "09:30:10")
    assert found.next_at is None


def test_a_skip_stands_in_a_made_up_stretch_too() -> None:
    found = plan(reading(every(3_600), at("05:00"), skips=frozenset({at("09:00")})))
    assert [(fire.nominal_at, fire.skipped) for fire in found.fires] == [(at("09:00"), True)]


def test_jitter_makes_a_fire_late_by_its_due_time_not_by_its_nominal_one() -> None:
    cadence = Cadence(interval_seconds=3_600, jitter_seconds=1_800)
    schedule = a_schedule(cadence=cadence)
    first = first_occurrence(schedule, at("05:00"))
    assert first is not None
    nominal, due = first
    assert nominal < due
    found = plan(reading(cadence, nominal), now=due + timedelta(seconds=5))
    assert (found.fires[0].nominal_at, found.fires[0].owed_at) == (nominal, due)


def test_newer_is_due_asks_for_the_next_occurrences_due_time() -> None:
    schedule = a_schedule(cadence=every(60, end_at=at("09:02")))
    assert newer_is_due(schedule, at("09:00"), at("09:01"))
    assert not newer_is_due(schedule, at("09:00"), at("09:00:59"))
    assert not newer_is_due(schedule, at("09:02"), at("23:00"))


# --- catching up: the other policies --------------------------------------------------------------


def late(
    policy: CatchupPolicy, cadence: Cadence, clock: str, window: int = 3_600, **more: Any
) -> SchedulePlan:
    policies = Policies(catchup_policy=policy, catchup_window_seconds=window)
    return plan(reading(cadence, at(clock), policies=policies), **more)


def test_none_makes_nothing_up_and_goes_on_with_what_is_merely_late() -> None:
    hourly = late(CatchupPolicy.NONE, every(3_600), "05:00")
    assert hourly.fires == ()
    assert hourly.gap == Gap(from_at=at("05:00"), to_at=NOW, reason=GapReason.CATCHUP_NONE)
    often = late(CatchupPolicy.NONE, every(20), "08:00:00")
    assert nominals(often)[:2] == [at("09:29:20"), at("09:29:40")]
    assert often.gap is not None
    assert (often.gap.to_at, often.gap.reason) == (at("09:29:20"), GapReason.CATCHUP_NONE)


def test_all_makes_up_everything_within_the_window() -> None:
    found = late(CatchupPolicy.ALL, every(600), "05:00", window=1_810, now=at("09:30:10"))
    assert nominals(found) == [at(f"09:{minute}:00") for minute in ("10", "20", "30")]
    assert [fire.owed_at for fire in found.fires] == [NOW, NOW, at("09:30")]
    assert [fire.slice.key for fire in found.fires] == ["2026-06-24T09:30:00Z/backlog"] * 2 + [
        "2026-06-24T09:30:00Z"
    ]
    assert found.gap == Gap(from_at=at("05:00"), to_at=at("09:10"), reason=GapReason.CATCHUP_WINDOW)


def test_all_within_its_window_leaves_no_gap() -> None:
    found = late(CatchupPolicy.ALL, every(600), "08:40")
    assert nominals(found) == [
        at(f"{hour}:{minute}:00")
        for hour, minute in (
            ("08", "40"), ("08", "50"), ("09", "00"), ("09", "10"), ("09", "20"), ("09", "30")
        )
    ]  # fmt: skip
    assert found.gap is None


@pytest.mark.parametrize("policy", list(CatchupPolicy))
def test_a_window_of_nothing_makes_nothing_up_but_what_is_merely_late_is_delivered(
    policy: CatchupPolicy,
) -> None:
    assert late(policy, every(3_600), "05:00", window=0).fires == ()
    found = late(policy, every(20), "05:00", window=0)
    assert nominals(found)[0] == at("09:29:20")


# --- coverage: no unexplained hole ----------------------------------------------------------------

CADENCES = st.one_of(
    st.builds(Cadence, interval_seconds=st.integers(1, 10_000)),
    st.builds(
        Cadence,
        interval_seconds=st.integers(20, 10_000),
        jitter_seconds=st.integers(0, 5_000),
    ),
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 9 * * *", "5,6 */2 * * *"]).map(
        lambda text: Cadence(cron_expression=text, timezone="Europe/Berlin")
    ),
)
BEGINNING = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
OUTAGES = st.lists(
    st.one_of(st.floats(1, 30), st.floats(30, 200), st.floats(200, 20_000)), min_size=1, max_size=8
)


def run_the_clock(
    found: ClockReading, pauses: Sequence[float]
) -> tuple[list[PlannedFire], list[Gap], datetime | None]:
    """Ticks with pauses between them; returns what was planned, and where the clock stands."""
    fires: list[PlannedFire] = []
    gaps: list[Gap] = []
    now = BEGINNING
    for pause in pauses:
        now += timedelta(seconds=pause)
        if found.next_due_at >= planning_frontier(now, HORIZON):
            continue
        planned = plan(found, now)
        fires += planned.fires
        gaps += [planned.gap] if planned.gap else []
        if planned.next_at is None:
            return fires, gaps, None
        nominal, due = planned.next_at
        found = replace(found, next_nominal_at=nominal, next_due_at=due)
    return fires, gaps, found.next_nominal_at


POLICIES = st.builds(
    Policies,
    catchup_policy=st.sampled_from(CatchupPolicy),
    catchup_window_seconds=st.one_of(st.just(3_600), st.integers(0, 20_000)),
)


@given(CADENCES, OUTAGES, st.one_of(st.none(), st.integers(0, 30_000)), POLICIES)
def test_every_occurrence_is_covered_by_exactly_one_fire_or_one_gap(
    cadence: Cadence, pauses: list[float], ends_in: int | None, policies: Policies
) -> None:
    if ends_in is not None:
        cadence = replace(cadence, end_at=BEGINNING + timedelta(seconds=ends_in))
    if first_occurrence(a_schedule(cadence=cadence), BEGINNING - INSTANT) is None:
        return
    start = reading(cadence, BEGINNING, policies=policies)
    fires, gaps, clock = run_the_clock(start, pauses)

    until = clock or BEGINNING + timedelta(seconds=sum(pauses) + 200)
    since = start.next_nominal_at - INSTANT
    due = [o for o in occurrences(cadence, since, until) if o != clock]
    planned = [fire.nominal_at for fire in fires]
    assert len(planned) == len(set(planned))
    for nominal in due:
        covers = planned.count(nominal) + sum(g.from_at <= nominal < g.to_at for g in gaps)
        assert covers == 1, nominal
    assert set(planned) <= set(due)


@given(CADENCES, st.floats(61, 500_000))
def test_an_outage_of_any_length_is_one_gap_and_few_fires(cadence: Cadence, seconds: float) -> None:
    found = plan(reading(cadence, BEGINNING), BEGINNING + timedelta(seconds=seconds))
    on_time = [fire for fire in found.fires if fire.due_at >= BEGINNING]
    backlog = [fire for fire in on_time if fire.slice.key.endswith("/backlog")]
    assert len(backlog) <= 1
    # The grace's minute, the present one, and the one within the horizon.
    assert len(on_time) <= 151
