"""What becomes of a fire while the agent is busy with the schedule's one before it.

"Busy" is said of the *agent*, never of us: a fire ahead that is late, or whose run is dead, is only
waited for. Pure; judged at the claim, under the schedule's mutex.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schedules_pipeline.domain.fire import FireReason
from schedules_pipeline.domain.policies import OverlapPolicy

FRESH_HEARTBEAT = timedelta(seconds=15)
LARGEST_BUFFER = 100
STOPPING_TAKES = timedelta(seconds=30)
"""How long a fire that was told to stop is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FireAhead:
    """An earlier fire of the same schedule that is not over.

    Its own delivery is under way (`unfinished`), or, for schedules whose overlap is about tasks, it
    was delivered and its task is not final. `stop_requested_at`: it was told to stop.
    """

    id: str
    schedule_id: str
    due_at: datetime
    claimed_at: datetime
    heartbeat_at: datetime
    dispatch_live: bool
    unfinished: bool
    task_id: str | None
    stop_requested_at: datetime | None


class Move(StrEnum):
    """What overlap has to say about one fire."""

    GO = "go"
    LATER = "later"
    """Asked again by the same run a moment later."""
    HOLD = "hold"
    """It waits in the ledger; nobody's run waits for it."""
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A move; for a skip its reason, and what becomes of the fires ahead.

    `stops` are told to stop. `replaces` end here and now: they have had their time.
    """

    move: Move
    reason: FireReason | None = None
    stops: tuple[FireAhead, ...] = ()
    replaces: tuple[FireAhead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """The fire that is due now, as far as overlap asks."""

    nominal_at: datetime
    due_at: datetime
    seen_at: datetime


def rule(
    policy: OverlapPolicy,
    fire: Newcomer,
    ahead: Sequence[FireAhead],
    waiting: Sequence[datetime],
    grace: timedelta,
) -> Ruling:
    """`waiting`: the nominal times of the schedule's fires that wait in the ledger."""
    if policy is OverlapPolicy.ALLOW_ALL:
        return Ruling(Move.GO)
    busy = tuple(other for other in ahead if _is_busy(fire, other, grace))
    behind_others = any(nominal < fire.nominal_at for nominal in waiting)
    if not busy and not behind_others:
        return Ruling(Move.LATER if ahead else Move.GO)
    return _while_busy(policy, fire, busy, waiting)


def _while_busy(
    policy: OverlapPolicy,
    fire: Newcomer,
    busy: tuple[FireAhead, ...],
    waiting: Sequence[datetime],
) -> Ruling:
    match policy:
        case OverlapPolicy.BUFFER_ONE if not waiting:
            return Ruling(Move.HOLD)
        case OverlapPolicy.BUFFER_ALL if len(waiting) < LARGEST_BUFFER:
            return Ruling(Move.HOLD)
        case OverlapPolicy.BUFFER_ALL:
            return Ruling(Move.SKIP, FireReason.BUFFER_FULL)
        case OverlapPolicy.TERMINATE_OTHER:
            return _instead_of(busy)
        case OverlapPolicy.CANCEL_OTHER if all(_has_had_its_time(fire, o) for o in busy):
            return _instead_of(busy)
        case OverlapPolicy.CANCEL_OTHER:
            return Ruling(Move.LATER, stops=_not_told(busy))
        case _:
            return Ruling(Move.SKIP, FireReason.OVERLAP)


def _instead_of(busy: tuple[FireAhead, ...]) -> Ruling:
    unfinished = tuple(other for other in busy if other.unfinished)
    return Ruling(Move.GO, stops=_not_told(busy), replaces=unfinished)


def _not_told(busy: tuple[FireAhead, ...]) -> tuple[FireAhead, ...]:
    return tuple(other for other in busy if other.stop_requested_at is None)


def _has_had_its_time(fire: Newcomer, other: FireAhead) -> bool:
    told = other.stop_requested_at
    return told is not None and told + STOPPING_TAKES <= fire.seen_at


def _is_busy(fire: Newcomer, other: FireAhead, grace: timedelta) -> bool:
    """Whether the fire ahead says that the agent is busy, not merely that we are late."""
    if not other.unfinished:
        return True  # It is here because its task is not final.
    claimed_in_time = other.claimed_at < min(other.due_at + grace, fire.due_at)
    worked_on = other.dispatch_live and other.heartbeat_at >= fire.seen_at - FRESH_HEARTBEAT
    return claimed_in_time and worked_on
