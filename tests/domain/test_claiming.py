"""The verdict at a claim, case by case. No database: it decides whom the store locked already."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.claiming import (
    Candidate,
    Company,
    Decision,
    Definition,
    Verdict,
    judge,
)
from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.domain.overlap import FireAhead
from schedules_pipeline.domain.policies import CatchupPolicy, Policies
from schedules_pipeline.domain.schedule import AgentStatus
from tests.factories import a_schedule, an_agent

NOON = datetime(2026, 6, 24, 12, 0, tzinfo=UTC)
GRACE = timedelta(seconds=60)
HOURLY, MINUTELY = Cadence(interval_seconds=3_600), Cadence(interval_seconds=60)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def candidate(nominal: datetime = NOON, **changes: Any) -> Candidate:
    """Planned, due at `nominal`, seen 1 s later."""
    values: dict[str, Any] = {
        "id": f"fire-{nominal:%H:%M:%S}",
        "schedule_id": "schedule-1",
        "trigger_type": TriggerType.SCHEDULED,
        "nominal_at": nominal,
        "due_at": nominal,
        "owed_at": nominal,
        "state": FireState.PLANNED,
        "attempts": 0,
        "redrive_count": 0,
        "idempotency_key": "key",
        "schedule_version": None,
        "task_id": None,
        "stop_requested_at": None,
        "in_turn": False,
        "seen_at": nominal + seconds(1),
    }
    return Candidate(**(values | changes))


def ahead(due: datetime, **changes: Any) -> FireAhead:
    """Claimed at its due time by a run whose heart beat a second before noon."""
    values: dict[str, Any] = {
        "id": "fire-ahead",
        "schedule_id": "schedule-1",
        "due_at": due,
        "claimed_at": due,
        "heartbeat_at": NOON - seconds(1),
        "dispatch_live": True,
        "unfinished": True,
        "task_id": "task-ahead",
        "stop_requested_at": None,
    }
    return FireAhead(**(values | changes))


def verdict(
    *candidates: Candidate,
    before: tuple[FireAhead, ...] = (),
    waiting: tuple[datetime, ...] = (),
    agent: AgentStatus = AgentStatus.READY,
    cadence: Cadence = HOURLY,
    fire_count: int = 0,
    **schedule: Any,
) -> list[Verdict]:
    standing = Definition(
        schedule=a_schedule(cadence=cadence, **schedule),
        agent=an_agent(status=agent),
        fire_count=fire_count,
    )
    return judge(candidates, standing, Company(ahead=before, waiting=waiting), GRACE)


def said(verdicts: list[Verdict]) -> list[tuple[Decision, FireState | None, FireReason | None]]:
    return [(v.decision, v.state, v.reason) for v in verdicts]


DELIVER = (Decision.DELIVER, None, None)
WAIT = (Decision.WAIT, None, None)


def end(state: FireState, reason: FireReason) -> tuple[Decision, FireState, FireReason]:
    return (Decision.END, state, reason)


SKIPPED, MISSED = FireState.SKIPPED, FireState.MISSED
CLAIMED, CREATED = FireState.CLAIMED, FireState.TASK_CREATED


def test_a_fire_in_its_time_is_delivered() -> None:
    assert said(verdict(candidate())) == [DELIVER]


def test_what_became_of_its_schedule_or_agent_ends_it() -> None:
    assert said(verdict(candidate(), paused=True)) == [end(SKIPPED, FireReason.PAUSED)]
    assert said(verdict(candidate(), deleted_at=NOON)) == [end(SKIPPED, FireReason.DELETED)]
    gone = AgentStatus.DELETED
    assert said(verdict(candidate(), agent=gone)) == [end(SKIPPED, FireReason.AGENT_DELETED)]
    # Deleted says more than paused.
    both = verdict(candidate(), paused=True, deleted_at=NOON)
    assert said(both) == [end(SKIPPED, FireReason.DELETED)]


@pytest.mark.parametrize("state", [CLAIMED, CREATED])
def test_what_was_claimed_in_its_time_is_finished_whatever_happened_since(
    state: FireState,
) -> None:
    begun = candidate(state=state)
    assert said(verdict(begun, paused=True)) == [DELIVER]
    assert said(verdict(begun, deleted_at=NOON)) == [DELIVER]


def test_a_deleted_agent_ends_a_claimed_fire_but_not_one_whose_input_may_be_out() -> None:
    gone = AgentStatus.DELETED
    begun = verdict(candidate(state=CLAIMED), agent=gone)
    assert said(begun) == [end(SKIPPED, FireReason.AGENT_DELETED)]
    assert said(verdict(candidate(state=CREATED), agent=gone)) == [DELIVER]


@pytest.mark.parametrize(
    ("late", "cadence", "stale"),
    [
        (60, 60, False),  # the grace itself is not past it
        (61, 60, True),  # 12:01 is due
        (61, 120, False),  # nothing newer is
        (119.9, 120, False),
        (120, 120, True),
        (3_600, 7_200, False),  # the newest, within the window
        (3_601, 7_200, True),  # older than the window
    ],
)
def test_past_the_grace_only_the_newest_within_the_window_goes_out(
    late: float, cadence: int, stale: bool
) -> None:
    found = verdict(
        candidate(seen_at=NOON + seconds(late)), cadence=Cadence(interval_seconds=cadence)
    )
    assert said(found) == [end(MISSED, FireReason.COALESCED) if stale else DELIVER]


def test_a_stale_fire_whose_input_may_be_out_is_delivered_only_if_its_agent_shows_that() -> None:
    seen_at = NOON + seconds(100)
    assert said(verdict(candidate(state=CLAIMED, seen_at=seen_at), cadence=MINUTELY)) == [
        end(MISSED, FireReason.COALESCED)
    ]
    assert said(verdict(candidate(state=CREATED, seen_at=seen_at), cadence=MINUTELY)) == [
        (Decision.PROVE, None, None)
    ]


def test_what_is_made_up_is_late_by_the_time_it_was_decided_on() -> None:
    made_up = candidate(owed_at=NOON + seconds(1_800), seen_at=NOON + seconds(1_810))
    assert said(verdict(made_up, cadence=MINUTELY)) == [DELIVER]


def test_a_cadence_that_can_no_longer_be_read_does_not_stop_the_claim() -> None:
    gone = Cadence(cron_expression="* * * * *", timezone="Europe/Atlantis")
    assert said(verdict(candidate(seen_at=NOON + seconds(100)), cadence=gone)) == [DELIVER]


def test_a_busy_agent_lets_the_next_fire_be_skipped() -> None:
    before = (ahead(NOON - seconds(5)),)
    assert said(verdict(candidate(), before=before)) == [end(SKIPPED, FireReason.OVERLAP)]


@pytest.mark.parametrize(
    "late",
    [
        {"claimed_at": NOON},  # not before this one's due time
        {"claimed_at": NOON - seconds(1), "due_at": NOON - seconds(61)},  # claimed too late
        {"dispatch_live": False},
        {"heartbeat_at": NOON - seconds(14.5)},  # 15.5 s old when it was seen
    ],
)
def test_a_fire_ahead_that_is_only_late_or_dead_is_waited_for(late: dict[str, Any]) -> None:
    before = (ahead(NOON - seconds(5), **late),)
    assert said(verdict(candidate(), before=before)) == [WAIT]


def test_one_busy_fire_among_late_ones_is_enough_to_skip() -> None:
    before = (ahead(NOON - seconds(5), dispatch_live=False), ahead(NOON - seconds(5)))
    assert said(verdict(candidate(), before=before)) == [end(SKIPPED, FireReason.OVERLAP)]


def test_of_one_schedules_fires_the_earliest_goes_and_the_others_wait_for_it() -> None:
    later, earlier = candidate(NOON + seconds(10)), candidate(NOON)
    found = verdict(later, earlier, cadence=Cadence(interval_seconds=10))
    assert [v.candidate.nominal_at for v in found] == [NOON, NOON + seconds(10)]
    assert said(found) == [DELIVER, WAIT]


def test_one_that_ends_lets_the_next_go() -> None:
    stale = candidate(NOON - seconds(120), seen_at=NOON)
    found = verdict(candidate(), stale, cadence=MINUTELY)
    assert said(found) == [end(MISSED, FireReason.COALESCED), DELIVER]


def test_a_take_over_does_not_wait_for_itself() -> None:
    own = candidate(state=CREATED)
    before = (ahead(NOON, id=own.id),)
    assert said(verdict(own, before=before)) == [DELIVER]


def test_early_is_what_is_due_after_it_was_seen() -> None:
    assert not candidate(seen_at=NOON - timedelta(microseconds=1)).is_due
    assert candidate(seen_at=NOON).is_due


# --- policies -------------------------------------------------------------------------------------


def lateness(seconds_late: float, policy: CatchupPolicy, window: int = 3_600) -> list[Verdict]:
    return verdict(
        candidate(seen_at=NOON + seconds(seconds_late)),
        policies=Policies(catchup_policy=policy, catchup_window_seconds=window),
        cadence=MINUTELY,
    )


@pytest.mark.parametrize(
    ("policy", "late", "window", "reason"),
    [
        (CatchupPolicy.NONE, 60, 3_600, None),
        (CatchupPolicy.NONE, 60.001, 3_600, FireReason.CATCHUP_NONE),
        (CatchupPolicy.ALL, 3_600, 3_600, None),  # newer ones are due: all are wanted
        (CatchupPolicy.ALL, 3_600.001, 3_600, FireReason.CATCHUP_WINDOW),
        (CatchupPolicy.ALL, 60, 0, None),
        (CatchupPolicy.ALL, 60.001, 0, FireReason.CATCHUP_WINDOW),
        (CatchupPolicy.LATEST, 60.001, 3_600, FireReason.COALESCED),
        (CatchupPolicy.LATEST, 60, 0, None),
    ],
)
def test_what_is_late_beyond_the_grace_is_the_policys_to_judge(
    policy: CatchupPolicy, late: float, window: int, reason: FireReason | None
) -> None:
    assert said(lateness(late, policy, window)) == [end(MISSED, reason) if reason else DELIVER]


@pytest.mark.parametrize(
    "asked_for", [{"trigger_type": TriggerType.MANUAL}, {"redrive_count": 1}], ids=str
)
def test_what_a_person_asked_for_knows_no_pause_no_limit_no_overlap_and_no_policy(
    asked_for: dict[str, Any],
) -> None:
    now = candidate(**asked_for)
    spent = Policies(max_fires=1, catchup_policy=CatchupPolicy.NONE)
    assert said(verdict(now, paused=True)) == [DELIVER]
    assert said(verdict(now, policies=spent, fire_count=1)) == [DELIVER]
    assert said(verdict(now, before=(ahead(NOON - seconds(5)),))) == [DELIVER]
    late = candidate(**asked_for, seen_at=NOON + seconds(3_600))
    assert said(verdict(late, policies=spent, cadence=MINUTELY)) == [DELIVER]
    assert said(verdict(now, deleted_at=NOON)) == [end(SKIPPED, FireReason.DELETED)]
    gone = AgentStatus.DELETED
    assert said(verdict(now, agent=gone)) == [end(SKIPPED, FireReason.AGENT_DELETED)]


@pytest.mark.parametrize(("window", "keeps"), [(0, 3_600), (3_600, 3_600), (7_200, 7_200)])
def test_what_a_person_asked_for_keeps_for_the_window_and_an_hour_at_least(
    window: int, keeps: int
) -> None:
    for late, expected in ((keeps, DELIVER), (keeps + 0.1, end(MISSED, FireReason.STALE))):
        found = verdict(
            candidate(trigger_type=TriggerType.MANUAL, seen_at=NOON + seconds(late)),
            policies=Policies(catchup_window_seconds=window),
        )
        assert said(found) == [expected]


def test_a_manual_fire_does_not_wait_for_the_schedules_others() -> None:
    manual = candidate(id="manual", trigger_type=TriggerType.MANUAL, nominal_at=NOON + seconds(1))
    assert said(verdict(candidate(), manual)) == [DELIVER, DELIVER]


def test_beyond_max_fires_the_clock_delivers_nothing_new() -> None:
    limit = Policies(max_fires=3)
    assert said(verdict(candidate(), policies=limit, fire_count=2)) == [DELIVER]
    spent = end(SKIPPED, FireReason.EXHAUSTED)
    assert said(verdict(candidate(), policies=limit, fire_count=3)) == [spent]
    begun = candidate(state=CLAIMED)
    assert said(verdict(begun, policies=limit, fire_count=3)) == [DELIVER]
