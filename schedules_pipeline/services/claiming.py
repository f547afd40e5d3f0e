"""The claim: one transaction that takes due fires, ends what must not go out, and makes tasks.

Lock order: this dispatch (FOR SHARE), the switches (shared), the schedules' clocks (SKIP LOCKED, in
id order), then the fires. Definitions are read by a statement of their own after the locks: what a
PATCH, a pause, a delete or a switch has answered 200 for is seen here.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from schedules_pipeline.domain.claiming import (
    Candidate,
    Company,
    Decision,
    Definition,
    Verdict,
    judge,
)
from schedules_pipeline.domain.fire import FireReason, FireState, task_id, task_name
from schedules_pipeline.domain.overlap import FireAhead
from schedules_pipeline.domain.policies import DeliveryGuarantee, OverlapScope
from schedules_pipeline.domain.schedule import AcpType, Agent, Content, JsonObject, Schedule
from schedules_pipeline.domain.slices import utc_stamp
from schedules_pipeline.services.platform_port import Assignment, Stop, Task
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import Claim, OpenFire, TaskRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedFire:
    """A fire that this run must now see to its end.

    `task_created`: taken over after its task was made, so its input may have gone out already.
    `may_send_again`: whether an input that may have gone out may go out once more. `creator`: for
    whom it is sent, if that principal still may.
    """

    fire_id: str
    schedule_id: str
    agent_id: str
    due_at: datetime
    attempts: int
    task_created: bool
    may_send_again: bool
    pause_after_failures: int | None
    lets_next_go: bool
    creator: JsonObject
    assignment: Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What became of the fires that a claim asked for; the rest is no longer ours to take.

    `early`: their time has not come by the database's clock. `locked`: their schedule's row was
    held by someone. `waiting`: an earlier fire of the same schedule goes first. `stops`: agents
    that are to be told to stop, once this is committed.
    """

    claimed: Sequence[ClaimedFire]
    stops: Sequence[Stop]
    early: Sequence[OpenFire]
    locked: Sequence[OpenFire]
    waiting: Sequence[OpenFire]


def claim(
    tx: Transaction,
    wanted: Sequence[OpenFire],
    dagster_run_id: str,
    grace: timedelta,
    with_open_tasks: Collection[str] = (),
    until_due: Callable[[], None] | None = None,
) -> ClaimResult:
    """Take what is due of `wanted`; the caller's transaction already holds its dispatch alive.

    `with_open_tasks`: ids of delivered fires whose tasks are not final, by the platform's word.

    `until_due` waits for a due time that is milliseconds ahead. It is called with the mutexes held
    and the schedules read, which nobody can change until we commit. Everything else is read after
    it: agents (the mutex does not hold them), whether a fire is still planned, whether it is due by
    the database's clock, and who is ahead of it.
    """
    # Held before any clock row: whoever turns a switch waits for this claim, or is seen by it.
    tx.switches.hold()
    stopped = tx.switches.stopped()
    wanted = [fire for fire in wanted if stopped.since(fire.agent_id) is None]
    by_id = {fire.id: fire for fire in wanted}
    free = tx.clocks.lock_free({fire.schedule_id for fire in wanted})
    definitions = tx.claims.definitions(free)
    if until_due is not None and free:
        until_due()
        definitions = _with_present_agents(tx, definitions)
    candidates = tx.claims.lock_candidates(by_id, free, dagster_run_id)
    due = [c for c in candidates if c.is_due]
    verdicts = _judge_all(tx, due, definitions, grace, with_open_tasks)
    claimed = _write(tx, verdicts, definitions, dagster_run_id)
    early = [by_id[c.id] for c in candidates if not c.is_due]
    held = [fire for fire in wanted if fire.schedule_id not in free]
    waiting = [by_id[v.candidate.id] for v in verdicts if v.decision is Decision.WAIT]
    return ClaimResult(
        claimed=claimed,
        stops=_stop_those_ahead(tx, verdicts, definitions),
        early=early,
        locked=held,
        waiting=waiting,
    )


def _with_present_agents(
    tx: Transaction, definitions: Mapping[str, Definition]
) -> Mapping[str, Definition]:
    agents = tx.agents.find({definition.agent.id for definition in definitions.values()})
    return {
        schedule_id: replace(definition, agent=agents[definition.agent.id])
        for schedule_id, definition in definitions.items()
    }


def rehearse(tx: Transaction, dagster_run_id: str) -> None:
    """Every statement between a due time and its send, for no fire at all.

    Afterwards this connection has read the catalog for them: the first time costs 20 ms.
    """
    tx.switches.hold()
    tx.switches.stopped()
    tx.clocks.lock_free(())
    tx.claims.definitions(())
    tx.agents.find(())
    tx.claims.lock_candidates((), (), dagster_run_id)
    tx.overlaps.ahead((), ())
    tx.tasks.create(())
    tx.claims.claim((), dagster_run_id)
    tx.clocks.count_fires(())
    tx.claims.write_outcomes((), dagster_run_id)


def _judge_all(
    tx: Transaction,
    due: Sequence[Candidate],
    definitions: Mapping[str, Definition],
    grace: timedelta,
    with_open_tasks: Collection[str],
) -> list[Verdict]:
    by_schedule: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in due:
        by_schedule[candidate.schedule_id].append(candidate)
    ahead = defaultdict(list)
    for fire in tx.overlaps.ahead(by_schedule, with_open_tasks) if by_schedule else ():
        ahead[fire.schedule_id].append(fire)
    some_wait = [s for s in by_schedule if definitions[s].waiting_count]
    waiting = tx.overlaps.waiting(some_wait) if some_wait else {}
    return [
        verdict
        for schedule_id, candidates in by_schedule.items()
        for verdict in judge(
            candidates,
            definitions[schedule_id],
            Company(ahead=ahead[schedule_id], waiting=waiting.get(schedule_id, ())),
            grace,
        )
    ]


def _write(
    tx: Transaction,
    verdicts: Sequence[Verdict],
    definitions: Mapping[str, Definition],
    dagster_run_id: str,
) -> list[ClaimedFire]:
    ends = [
        (v.candidate.id, v.state, v.reason)
        for v in verdicts
        if v.decision is Decision.END and v.state is not None and v.reason is not None
    ]
    ends += [(f.id, FireState.CANCELLED, FireReason.OVERLAP) for v in verdicts for f in v.replaces]
    held = {
        v.candidate.id: v.candidate.schedule_id for v in verdicts if v.decision is Decision.HOLD
    }
    if held:
        tx.overlaps.hold(held)
    if ends:
        tx.claims.end_unclaimed(ends)
    in_hand = [v for v in verdicts if v.decision in (Decision.DELIVER, Decision.PROVE)]
    if not in_hand:
        return []
    taken = [v.candidate for v in in_hand]
    contents = _contents(tx, taken, definitions)
    claimed = [_claimed(v, definitions[v.candidate.schedule_id], contents) for v in in_hand]
    tx.tasks.create([_task_row(each) for each in claimed])
    tx.claims.claim([_claim(c, definitions[c.schedule_id].schedule) for c in taken], dagster_run_id)
    # A take-over is no new fire, and a person's fire is not the clock's.
    first = [c.schedule_id for c in taken if c.state is FireState.PLANNED and not c.asked_for]
    if first:
        tx.fires.insert_gaps(tx.clocks.count_fires(first))
    minded = {
        c.schedule_id: c.id
        for c in taken
        if definitions[c.schedule_id].schedule.policies.overlap_scope is OverlapScope.TASK
    }
    if minded:
        tx.overlaps.note_last(minded)
    return claimed


def _stop_those_ahead(
    tx: Transaction, verdicts: Sequence[Verdict], definitions: Mapping[str, Definition]
) -> Sequence[Stop]:
    """Note that they are told to stop; whom no task was made for yet needs no telling."""
    stops = [fire for verdict in verdicts for fire in verdict.stops]
    if not stops:
        return ()
    tx.overlaps.tell_to_stop([fire.id for fire in stops])
    told = [_stop(fire, definitions[fire.schedule_id].agent) for fire in stops if fire.task_id]
    tx.tasks.stop({stop.task.id: stop.task.status for stop in told})
    return told


def _stop(fire: FireAhead, agent: Agent) -> Stop:
    status = "INTERRUPTED" if agent.acp_type is AcpType.SYNC else "CANCELED"
    return Stop(
        agent=agent,
        task=Task(
            id=fire.task_id or "",
            name=task_name(fire.schedule_id, fire.id),
            agent_id=agent.id,
            status=status,
            params=None,
            task_metadata={},
            created_at=fire.claimed_at,
        ),
    )


def _claim(candidate: Candidate, schedule: Schedule) -> Claim:
    return Claim(
        fire_id=candidate.id,
        schedule_version=schedule.version,
        task_id=task_id(task_name(schedule.id, candidate.id)),
    )


def _contents(
    tx: Transaction, taken: Sequence[Candidate], definitions: Mapping[str, Definition]
) -> Mapping[tuple[str, int], Content]:
    """What those fires say that were begun under a version that is no longer in force."""
    old = {
        (c.schedule_id, c.schedule_version)
        for c in taken
        if c.schedule_version not in (None, definitions[c.schedule_id].schedule.version)
    }
    return tx.schedules.contents(old) if old else {}


def _claimed(
    verdict: Verdict, definition: Definition, contents: Mapping[tuple[str, int], Content]
) -> ClaimedFire:
    candidate, schedule, agent = verdict.candidate, definition.schedule, definition.agent
    version = candidate.schedule_version or schedule.version
    content = contents.get((schedule.id, version)) or Content.of(schedule)
    guarantee = schedule.policies.delivery_guarantee
    return ClaimedFire(
        fire_id=candidate.id,
        schedule_id=schedule.id,
        agent_id=agent.id,
        due_at=candidate.due_at,
        attempts=candidate.attempts,
        task_created=candidate.state is FireState.TASK_CREATED,
        may_send_again=verdict.decision is Decision.DELIVER
        and guarantee is DeliveryGuarantee.AT_LEAST_ONCE,
        pause_after_failures=schedule.policies.pause_after_failures,
        lets_next_go=schedule.policies.buffers_deliveries,
        creator=schedule.creator_principal,
        assignment=_assignment(candidate, content, agent),
    )


def _assignment(candidate: Candidate, content: Content, agent: Agent) -> Assignment:
    name = task_name(candidate.schedule_id, candidate.id)
    return Assignment(
        fire_id=candidate.id,
        agent=agent,
        task=Task(
            id=candidate.task_id or task_id(name),
            name=name,
            agent_id=agent.id,
            status="RUNNING",
            params=content.task_params,
            task_metadata=_task_metadata(candidate, content),
            created_at=candidate.seen_at,
        ),
        input_author=content.initial_input["author"],
        input_content=content.initial_input["content"],
        idempotency_key=candidate.idempotency_key,
        event_sequence=candidate.redrive_count + 1,
    )


def _task_metadata(candidate: Candidate, content: Content) -> JsonObject:
    """A person may choose the display name, but not what the fire says of itself."""
    return {
        "display_name": content.name,
        **(content.task_metadata or {}),
        "schedule_id": candidate.schedule_id,
        "scheduled_fire_id": candidate.id,
        "trigger_type": candidate.trigger_type.value,
        "fire_time": utc_stamp(candidate.nominal_at),
        "idempotency_key": candidate.idempotency_key,
    }


def _task_row(claimed: ClaimedFire) -> TaskRow:
    task = claimed.assignment.task
    return TaskRow(
        id=task.id,
        name=task.name,
        agent_id=task.agent_id,
        params=task.params,
        task_metadata=task.task_metadata,
    )
