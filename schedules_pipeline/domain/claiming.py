"""The verdict at a claim: deliver, end, or wait. Judged once, at the due time, under the lock.

Whoever asks (a live run, a late one, one that Dagster resumed hours later), the same rules hold:
an edit made a second ago counts, and nothing goes out stale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.domain.overlap import FireAhead, Move, Newcomer, Ruling, rule
from schedules_pipeline.domain.planning import newer_is_due
from schedules_pipeline.domain.policies import CatchupPolicy, OverlapPolicy
from schedules_pipeline.domain.schedule import Agent, AgentStatus, Schedule

ASKED_FOR_KEEPS = timedelta(hours=1)


class Decision(StrEnum):
    """What becomes of a candidate."""

    DELIVER = "deliver"
    PROVE = "prove"
    """Too late to send, but its input may have gone out: see whether the agent shows that."""
    END = "end"
    WAIT = "wait"
    """The same run asks again in a moment."""
    HOLD = "hold"
    """It waits in the ledger until the fire ahead has ended; no run waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fire that may be taken, locked. `seen_at` is the database's clock at that moment.

    `in_turn`: a backfill's, which go one after another.
    """

    id: str
    schedule_id: str
    trigger_type: TriggerType
    nominal_at: datetime
    due_at: datetime
    owed_at: datetime
    state: FireState
    attempts: int
    redrive_count: int
    idempotency_key: str
    schedule_version: int | None
    task_id: str | None
    stop_requested_at: datetime | None
    in_turn: bool
    seen_at: datetime

    @property
    def is_due(self) -> bool:
        """By the database's clock, whatever the worker's clock says."""
        return self.due_at <= self.seen_at

    @property
    def asked_for(self) -> bool:
        """Whether a person wants this very fire: a trigger, or a redrive of any fire."""
        return not self.trigger_type.by_clock or self.redrive_count > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What is in force at the moment of a claim; `fire_count`: claims by the clock so far;
    `waiting_count`: fires that wait in the ledger."""

    schedule: Schedule
    agent: Agent
    fire_count: int
    waiting_count: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether the clock has fired as often as it may."""
        return self.schedule.policies.exhausted_by(self.fire_count)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision about one candidate; an end has its state and reason.

    `stops`: fires ahead that are to be told to stop; `replaces`: those that end for this one.
    """

    candidate: Candidate
    decision: Decision
    state: FireState | None = None
    reason: FireReason | None = None
    stops: tuple[FireAhead, ...] = ()
    replaces: tuple[FireAhead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """The schedule's other fires: those ahead that are not over, and who waits in the ledger."""

    ahead: Sequence[FireAhead] = ()
    waiting: Sequence[datetime] = ()


def judge(
    candidates: Sequence[Candidate], definition: Definition, company: Company, grace: timedelta
) -> list[Verdict]:
    """Verdicts for one schedule's due candidates, in nominal order.

    A schedule's fires go one after another: once one is to be delivered, the others wait for it,
    unless their policy allows all.
    """
    ordered = sorted(candidates, key=lambda c: c.nominal_at)
    own = {c.id for c in ordered}
    ahead = [a for a in company.ahead if a.id not in own]
    waiting = list(company.waiting)
    together = definition.schedule.policies.overlap_policy is OverlapPolicy.ALLOW_ALL
    verdicts: list[Verdict] = []
    one_goes = False
    for candidate in ordered:
        verdict = (
            Verdict(candidate, Decision.WAIT)
            if one_goes and (candidate.in_turn or not (together or candidate.asked_for))
            else _judge_one(candidate, definition, Company(ahead=ahead, waiting=waiting), grace)
        )
        one_goes = one_goes or verdict.decision not in (Decision.END, Decision.HOLD)
        if verdict.decision is Decision.HOLD:
            waiting.append(candidate.nominal_at)
        verdicts.append(verdict)
    return verdicts


def _judge_one(
    candidate: Candidate, definition: Definition, company: Company, grace: timedelta
) -> Verdict:
    if candidate.state is not FireState.PLANNED and candidate.stop_requested_at is not None:
        # Its run died before it could say so; whoever told it to stop goes in its place.
        return Verdict(candidate, Decision.END, FireState.CANCELLED, FireReason.OVERLAP)
    if candidate.state is FireState.TASK_CREATED:
        stale = _missed_reason(candidate, definition.schedule, grace) is not None
        return Verdict(candidate, Decision.PROVE if stale else Decision.DELIVER)
    end = _end_without_delivery(candidate, definition, grace)
    if end is not None:
        return Verdict(candidate, Decision.END, *end)
    if candidate.in_turn and any(other.unfinished for other in company.ahead):
        return Verdict(candidate, Decision.WAIT)
    if candidate.asked_for or candidate.state is not FireState.PLANNED:
        return Verdict(candidate, Decision.DELIVER)
    newcomer = Newcomer(
        nominal_at=candidate.nominal_at, due_at=candidate.due_at, seen_at=candidate.seen_at
    )
    policy = definition.schedule.policies.overlap_policy
    return _by_ruling(candidate, rule(policy, newcomer, company.ahead, company.waiting, grace))


def _by_ruling(candidate: Candidate, ruling: Ruling) -> Verdict:
    match ruling.move:
        case Move.GO:
            return Verdict(
                candidate, Decision.DELIVER, stops=ruling.stops, replaces=ruling.replaces
            )
        case Move.LATER:
            return Verdict(candidate, Decision.WAIT, stops=ruling.stops)
        case Move.HOLD:
            return Verdict(candidate, Decision.HOLD)
        case Move.SKIP:
            return Verdict(candidate, Decision.END, FireState.SKIPPED, ruling.reason)


def _end_without_delivery(
    candidate: Candidate, definition: Definition, grace: timedelta
) -> tuple[FireState, FireReason] | None:
    """Of a fire whose input has certainly not gone out."""
    schedule = definition.schedule
    planned = candidate.state is FireState.PLANNED
    if planned and schedule.deleted_at is not None:
        return FireState.SKIPPED, FireReason.DELETED
    if definition.agent.status is AgentStatus.DELETED:
        return FireState.SKIPPED, FireReason.AGENT_DELETED
    # What a person asked for goes out while the schedule is paused, and beyond its limit.
    if planned and not candidate.asked_for and schedule.paused:
        return FireState.SKIPPED, FireReason.PAUSED
    if planned and not candidate.asked_for and definition.exhausted:
        return FireState.SKIPPED, FireReason.EXHAUSTED
    missed = _missed_reason(candidate, schedule, grace)
    return None if missed is None else (FireState.MISSED, missed)


def _missed_reason(candidate: Candidate, schedule: Schedule, grace: timedelta) -> FireReason | None:
    """Why a fire past its grace no longer goes out; None: it does."""
    if candidate.owed_at >= candidate.seen_at - grace:
        return None
    if candidate.asked_for:
        # A person asked for it: it keeps for as long as the window, an hour at least.
        keeps = max(schedule.policies.catchup_window, ASKED_FOR_KEEPS)
        return FireReason.STALE if candidate.owed_at < candidate.seen_at - keeps else None
    policy = schedule.policies.catchup_policy
    too_old = candidate.due_at < candidate.seen_at - schedule.policies.catchup_window
    overtaken = policy is CatchupPolicy.LATEST and newer_is_due(
        schedule, candidate.nominal_at, candidate.seen_at
    )
    gone = policy is CatchupPolicy.NONE or too_old or overtaken
    return policy.missed_reason if gone else None
