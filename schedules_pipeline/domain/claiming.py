"""The verdict at a claim: deliver, end, or wait. Judged once, at the due time, under the lock.

Whoever asks (a live run, a late one, one that Dagster resumed hours later), the same rules hold:
an edit made a second ago counts, and nothing goes out stale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.planning import CATCHUP_WINDOW, newer_is_due
from schedules_pipeline.domain.schedule import Agent, AgentStatus, Schedule

FRESH_HEARTBEAT = timedelta(seconds=15)


class Decision(StrEnum):
    """What becomes of a candidate."""

    DELIVER = "deliver"
    END = "end"
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fire that may be taken, locked. `seen_at` is the database's clock at that moment."""

    id: str
    schedule_id: str
    nominal_at: datetime
    due_at: datetime
    owed_at: datetime
    state: FireState
    attempts: int
    redrive_count: int
    idempotency_key: str
    task_id: str | None
    seen_at: datetime

    @property
    def is_due(self) -> bool:
        """By the database's clock, whatever the worker's clock says."""
        return self.due_at <= self.seen_at


@dataclass(frozen=True, slots=True, kw_only=True)
class FireAhead:
    """An unfinished fire of the same schedule."""

    id: str
    schedule_id: str
    due_at: datetime
    claimed_at: datetime
    heartbeat_at: datetime
    dispatch_live: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision about one candidate; an end has its state and reason."""

    candidate: Candidate
    decision: Decision
    state: FireState | None = None
    reason: FireReason | None = None


def judge(
    candidates: Sequence[Candidate],
    schedule: Schedule,
    agent: Agent,
    ahead: Sequence[FireAhead],
    grace: timedelta,
) -> list[Verdict]:
    """Verdicts for one schedule's due candidates, in nominal order.

    A schedule's fires go one after another: once one is to be delivered, the others wait for it.
    """
    ordered = sorted(candidates, key=lambda c: c.nominal_at)
    own = {c.id for c in ordered}
    others = [a for a in ahead if a.id not in own]
    verdicts: list[Verdict] = []
    busy = False
    for candidate in ordered:
        verdict = (
            Verdict(candidate, Decision.WAIT)
            if busy
            else _judge_one(candidate, schedule, agent, others, grace)
        )
        busy = busy or verdict.decision is not Decision.END
        verdicts.append(verdict)
    return verdicts


def _judge_one(
    candidate: Candidate,
    schedule: Schedule,
    agent: Agent,
    others: Sequence[FireAhead],
    grace: timedelta,
) -> Verdict:
    end = _end_without_delivery(candidate, schedule, agent, grace)
    if end is not None:
        return Verdict(candidate, Decision.END, *end)
    if candidate.state is not FireState.PLANNED or not others:
        return Verdict(candidate, Decision.DELIVER)
    if any(_agent_is_busy(candidate, other, grace) for other in others):
        return Verdict(candidate, Decision.END, FireState.SKIPPED, FireReason.OVERLAP)
    return Verdict(candidate, Decision.WAIT)


def _end_without_delivery(
    candidate: Candidate, schedule: Schedule, agent: Agent, grace: timedelta
) -> tuple[FireState, FireReason] | None:
    planned = candidate.state is FireState.PLANNED
    sent_maybe = candidate.state is FireState.TASK_CREATED
    if planned and schedule.deleted_at is not None:
        return FireState.SKIPPED, FireReason.DELETED
    if agent.status is AgentStatus.DELETED and not sent_maybe:
        return FireState.SKIPPED, FireReason.AGENT_DELETED
    if planned and schedule.paused:
        return FireState.SKIPPED, FireReason.PAUSED
    if _is_stale(candidate, schedule, grace):
        if sent_maybe:
            return FireState.FAILED, FireReason.DELIVERY_UNKNOWN
        return FireState.MISSED, FireReason.COALESCED
    return None


def _is_stale(candidate: Candidate, schedule: Schedule, grace: timedelta) -> bool:
    """Policy `latest`: past the grace, only the newest occurrence within the window goes out."""
    if candidate.owed_at >= candidate.seen_at - grace:
        return False
    if candidate.due_at < candidate.seen_at - CATCHUP_WINDOW:
        return True
    return newer_is_due(schedule, candidate.nominal_at, candidate.seen_at)


def _agent_is_busy(candidate: Candidate, other: FireAhead, grace: timedelta) -> bool:
    """Whether the fire ahead says that the *agent* is busy, not merely that we are late."""
    claimed_in_time = other.claimed_at < min(other.due_at + grace, candidate.due_at)
    worked_on = other.dispatch_live and other.heartbeat_at >= candidate.seen_at - FRESH_HEARTBEAT
    return claimed_in_time and worked_on
