"""What overlap says of one fire: every policy, while the agent is busy and while it is not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_pipeline.domain.fire import FireReason
from schedules_pipeline.domain.overlap import FireAhead, Move, Newcomer, Ruling, rule
from schedules_pipeline.domain.policies import OverlapPolicy

NOON = datetime(2026, 6, 24, 12, 0, tzinfo=UTC)
GRACE = timedelta(seconds=60)
P = OverlapPolicy
SKIP = Ruling(Move.SKIP, FireReason.OVERLAP)
FULL = Ruling(Move.SKIP, FireReason.BUFFER_FULL)
GO, LATER, HOLD = (Ruling(move) for move in (Move.GO, Move.LATER, Move.HOLD))


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def ahead(**changes: Any) -> FireAhead:
    """Claimed in time, five seconds before noon, and under way."""
    values: dict[str, Any] = {
        "id": "ahead",
        "schedule_id": "schedule-1",
        "due_at": NOON - seconds(5),
        "claimed_at": NOON - seconds(5),
        "heartbeat_at": NOON - seconds(1),
        "dispatch_live": True,
        "unfinished": True,
        "task_id": "task",
        "stop_requested_at": None,
    }
    return FireAhead(**(values | changes))


def said(policy: OverlapPolicy, *others: FireAhead, waiting: int = 0) -> Ruling:
    """Of the fire that is due at noon; those that wait are the minutes before it."""
    noon = Newcomer(nominal_at=NOON, due_at=NOON, seen_at=NOON)
    earlier = [NOON - timedelta(minutes=n + 1) for n in range(waiting)]
    return rule(policy, noon, others, earlier, GRACE)


@pytest.mark.parametrize("policy", OverlapPolicy)
def test_alone_a_fire_goes_whatever_its_policy(policy: OverlapPolicy) -> None:
    assert said(policy) == GO


@pytest.mark.parametrize("policy", [p for p in OverlapPolicy if p is not P.ALLOW_ALL])
@pytest.mark.parametrize("late", [{"dispatch_live": False}, {"claimed_at": NOON}])
def test_a_fire_ahead_that_is_only_late_or_dead_is_waited_for(
    policy: OverlapPolicy, late: dict[str, Any]
) -> None:
    assert said(policy, ahead(**late)) == LATER


@pytest.mark.parametrize(
    ("policy", "waiting", "expected"),
    [
        (P.SKIP, 0, SKIP),
        (P.ALLOW_ALL, 0, GO),
        (P.BUFFER_ONE, 0, HOLD),
        (P.BUFFER_ONE, 1, SKIP),
        (P.BUFFER_ALL, 0, HOLD),
        (P.BUFFER_ALL, 99, HOLD),
        (P.BUFFER_ALL, 100, FULL),
    ],
)
def test_while_the_agent_is_busy_the_policy_decides(
    policy: OverlapPolicy, waiting: int, expected: Ruling
) -> None:
    assert said(policy, ahead(), waiting=waiting) == expected


def test_whoever_comes_behind_those_that_wait_waits_too_even_if_nothing_is_under_way() -> None:
    assert said(P.BUFFER_ALL, waiting=1) == HOLD
    assert said(P.BUFFER_ONE, waiting=1) == SKIP


def test_a_released_fire_goes_before_those_that_still_wait() -> None:
    noon = Newcomer(nominal_at=NOON, due_at=NOON, seen_at=NOON + seconds(90))
    assert rule(P.BUFFER_ALL, noon, [], [NOON + seconds(60)], GRACE) == GO


def test_terminate_other_tells_the_one_ahead_and_goes_at_once() -> None:
    other = ahead()
    assert said(P.TERMINATE_OTHER, other) == Ruling(Move.GO, stops=(other,), replaces=(other,))


@pytest.mark.parametrize(
    ("told", "expected"),
    [(None, "stops"), (29.9, "later"), (30.0, "replaces")],
)
def test_cancel_other_tells_the_one_ahead_and_waits_for_it_thirty_seconds(
    told: float | None, expected: str
) -> None:
    other = ahead(stop_requested_at=None if told is None else NOON - seconds(told))
    answers = {
        "stops": Ruling(Move.LATER, stops=(other,)),
        "later": LATER,
        "replaces": Ruling(Move.GO, replaces=(other,)),
    }
    assert said(P.CANCEL_OTHER, other) == answers[expected]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (P.SKIP, "skip"),
        (P.BUFFER_ALL, "hold"),
        (P.CANCEL_OTHER, "stop"),
        (P.TERMINATE_OTHER, "go"),
    ],
)
def test_an_open_task_makes_its_agent_busy_however_its_fire_was_claimed(
    policy: OverlapPolicy, expected: str
) -> None:
    """Its fire is delivered, and nothing leaves `delivered`: it is told, but not ended."""
    other = ahead(unfinished=False, dispatch_live=False, claimed_at=NOON - seconds(3_600))
    answers = {
        "skip": SKIP,
        "hold": HOLD,
        "stop": Ruling(Move.LATER, stops=(other,)),
        "go": Ruling(Move.GO, stops=(other,)),
    }
    assert said(policy, other) == answers[expected]
