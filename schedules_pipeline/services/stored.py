"""What the use cases put into the database and get out of it: rows as they see them.

The repositories that take and give them are `services.store_port`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.domain.planning import ClockReading
from schedules_pipeline.domain.policies import OverlapScope
from schedules_pipeline.domain.schedule import AcpType, JsonObject
from schedules_pipeline.domain.slices import Slice, SliceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """A row of the ledger, as it is shown."""

    id: str
    schedule_id: str
    agent_id: str
    nominal_at: datetime
    due_at: datetime
    trigger_type: TriggerType
    state: FireState
    reason: FireReason | None
    task_id: str | None
    idempotency_key: str
    attempts: int
    dagster_run_id: str | None
    sent_at: datetime | None
    delivered_at: datetime | None
    finished_at: datetime | None
    possible_duplicate: bool
    error: str | None
    reply_excerpt: str | None

    @property
    def lateness(self) -> timedelta | None:
        """How long after its due time the input was written to the agent."""
        return None if self.sent_at is None else self.sent_at - self.due_at


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentFire:
    """One of a schedule's last fires, as the schedule's own answer shows it."""

    id: str
    nominal_at: datetime
    trigger_type: TriggerType
    state: FireState
    reason: FireReason | None
    task_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleActivity:
    """What the clock and the ledger know of a schedule: the live fields of the REST API.

    `recent`: the newest fires whose time has come; `running_count`: those being delivered.
    """

    schedule_id: str
    seen_at: datetime
    next_nominal_at: datetime | None
    planned_ahead: tuple[datetime, ...]
    skipped: tuple[datetime, ...]
    last_fire_at: datetime | None
    fire_count: int
    recent: tuple[RecentFire, ...] = ()
    running_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request was answered with, kept so that it can be said again."""

    status: int
    etag: str | None
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedChange:
    """One row of a schedule's change history; `number` counts within the whole table."""

    number: int
    version: int
    operation: str
    actor: JsonObject
    at: datetime
    reason: str | None
    note: str | None
    tzdata_version: str
    before: JsonObject | None
    after: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FireFilter:
    """Which fires are wanted; nothing said: all. Nominal times in [from_at, to_at).

    `only`: of no schedules but these (by id); whoever asks may not see others.
    """

    agent_id: str | None = None
    schedule_id: str | None = None
    only: frozenset[str] | None = None
    states: frozenset[FireState] = frozenset()
    reasons: frozenset[FireReason] = frozenset()
    trigger_types: frozenset[TriggerType] = frozenset()
    from_at: datetime | None = None
    to_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FiresFound:
    """Fires that fit. `seen_until`: the search ended there, with more behind it that may fit."""

    fires: Sequence[Fire]
    seen_until: tuple[datetime, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFilter:
    """Which active schedules are wanted; nothing said: all. `only`: none but these (by id)."""

    agent_id: str | None = None
    name: str | None = None
    paused: bool | None = None
    next_fire_before: datetime | None = None
    text: str | None = None
    only: frozenset[str] | None = None


class ScheduleOrder(StrEnum):
    """How schedules are sorted; `-`: the largest first."""

    NAME = "name"
    NAME_DOWN = "-name"
    CREATED = "created_at"
    CREATED_DOWN = "-created_at"
    UPDATED = "updated_at"
    UPDATED_DOWN = "-updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirePage:
    """Fires, newest nominal time first, and where the next page begins."""

    fires: Sequence[Fire]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """When the clock last ticked, and since when without a break."""

    ticked_at: datetime
    tick_no: int
    series_since: datetime


@dataclass(frozen=True, slots=True)
class OpenFire:
    """A fire that a slice's worker may take when it is due."""

    id: str
    schedule_id: str
    agent_id: str
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAhead:
    """A planned fire whose due time is ahead."""

    id: str
    nominal_at: datetime
    due_at: datetime
    slice_kind: SliceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class FireMove:
    """Another due time for a planned fire, and so another slice."""

    fire_id: str
    due_at: datetime
    slice: Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a schedule's clock stands, and how many fires it has counted."""

    next_nominal_at: datetime | None
    fire_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a claim writes into a fire's row."""

    fire_id: str
    schedule_version: int
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task of the local platform that is to be made: with its fire's claim, or by hand."""

    id: str
    name: str | None
    agent_id: str
    params: JsonObject | None
    task_metadata: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """A task of the local platform, as it is shown."""

    id: str
    name: str | None
    agent_id: str
    status: str
    status_reason: str | None
    params: JsonObject | None
    task_metadata: JsonObject
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One step of a claimed fire that must be written before the next may happen.

    `state` is where the fire stands afterwards; a failed attempt leaves it where it was.
    `lets_next_go`: fires of its schedule may wait in the ledger for its end.
    """

    fire_id: str
    schedule_id: str
    state: FireState
    attempts: int
    pause_after_failures: int | None = None
    lets_next_go: bool = False
    reason: FireReason | None = None
    error: str | None = None
    sent_at: datetime | None = None
    reply_excerpt: str | None = None
    possible_duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """A fire that ended, with what a person wants to see of it in Dagster."""

    fire: Fire
    schedule_name: str
    agent_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedFire:
    """A fire that ended, as the terminal shows it."""

    fire_id: str
    agent_name: str
    schedule_name: str
    nominal_at: datetime
    due_at: datetime
    state: FireState
    reason: FireReason | None
    sent_at: datetime | None
    finished_at: datetime

    @property
    def lateness_seconds(self) -> float | None:
        """From its due time to its send; None when nothing was sent."""
        return None if self.sent_at is None else (self.sent_at - self.due_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A Dagster run that Dagster says is over; `cancelled`: because a person said so."""

    dagster_run_id: str
    slice_key: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A range of the past that a person wants delivered, and how far it has come.

    `left_count`: instants whose fires were left as they are. `next_at`: the first instant that is
    not in the ledger yet. `states`: its fires, counted by state.
    """

    id: str
    schedule_id: str
    from_at: datetime
    to_at: datetime
    overlap_policy: str
    forced: bool
    instants_count: int
    left_count: int
    next_at: datetime | None
    created_at: datetime
    states: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapOf:
    """[from_at, to_at) of a schedule's time that its clock left behind."""

    schedule_id: str
    from_at: datetime
    to_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedFire:
    """An occurrence whose own fire ended `missed`."""

    schedule_id: str
    nominal_at: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousTask:
    """The task that a schedule's agent was given last; while it is not final, the agent is busy."""

    schedule_id: str
    fire_id: str
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSchedule:
    """A schedule with fires that wait. `task_id`: the last task that still counts, if any."""

    schedule_id: str
    scope: OverlapScope
    task_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFire:
    """The fire of its schedule that has waited longest."""

    fire_id: str
    schedule_id: str
    acp_type: AcpType


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A waiting fire, and the slice that it goes to; the slice's row is open already."""

    fire_id: str
    slice: Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The clock was switched off, and perhaps on again."""

    off_since: datetime
    on_at: datetime | None
    actor: JsonObject
    note: str | None
    on_actor: JsonObject | None
    on_note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Which switches are off, and since when."""

    all_since: datetime | None
    agents_since: Mapping[str, datetime]

    def since(self, agent_id: str | None) -> datetime | None:
        """Since when nothing of this agent goes out; None: it does."""
        return self.all_since or (self.agents_since.get(agent_id) if agent_id else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutdatedClock:
    """A clock that was set under other zone rules, and what is accounted for before it.

    `last_nominal_at`: of the last fire that is due; `ahead`: of those planned and not yet due.
    """

    reading: ClockReading
    changed_at: datetime | None
    gap_until: datetime | None
    last_nominal_at: datetime | None
    ahead: tuple[datetime, ...]
