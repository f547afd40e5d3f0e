"""What the use cases need from the database, as protocols; `store/` provides it.

A use case runs in one short transaction: `store.run(lambda tx: …)`. The commit sits at the edge;
nobody inside commits. One lock order holds for all: dispatch (FOR SHARE), clock rows in id order,
slice rows in key order, fires.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from schedules_pipeline.domain.claiming import Candidate, Definition
from schedules_pipeline.domain.coverage import Change, ClockStanding, LedgerFire
from schedules_pipeline.domain.emission import OwingSlice
from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.overlap import FireAhead
from schedules_pipeline.domain.planning import ClockReading, Gap, SchedulePlan
from schedules_pipeline.domain.schedule import Agent, Content, JsonObject, Schedule
from schedules_pipeline.domain.slices import Slice
from schedules_pipeline.services.conversation_port import (
    AgentFilter,
    AgentOrder,
    EventRepository,
    MessageRepository,
    Span,
    TaskFilter,
    TaskOrder,
)
from schedules_pipeline.services.principals_port import PrincipalRepository
from schedules_pipeline.services.stored import (
    Answer,
    AuditRecord,
    Backfill,
    Claim,
    EndedRun,
    Fire,
    FireFilter,
    FireMove,
    FiresFound,
    GapOf,
    Heartbeat,
    MissedFire,
    OpenFire,
    Outcome,
    OutdatedClock,
    PlannedAhead,
    PreviousTask,
    RecordedChange,
    Release,
    ScheduleActivity,
    ScheduleFilter,
    ScheduleOrder,
    Standing,
    Stopped,
    StoredTask,
    Switch,
    TaskRow,
    WaitingFire,
    WaitingSchedule,
)

T = TypeVar("T")


class AgentRepository(Protocol):
    """Agents of the local platform."""

    def register(self, agent: Agent) -> Agent | None:
        """Insert, or update the agent of that name; its id and api_key stay what they were.

        None when another agent, of another name, has that id.
        """

    def get(self, agent_id: str) -> tuple[Agent, datetime] | None:
        """The agent and the database's clock, with one statement."""

    def get_by_name(self, name: str) -> Agent | None: ...
    def get_by_key_hash(self, key_hash: str) -> Agent | None:
        """The agent that was given the key with this SHA-256 (hex), unless it is deleted."""

    def find(self, agent_ids: Collection[str]) -> Mapping[str, Agent]:
        """Those of them that there are, by id."""

    def list(self, wanted: AgentFilter, order: AgentOrder, span: Span) -> Sequence[Agent]: ...


class ScheduleRepository(Protocol):
    """Definitions, their skips and their change history."""

    def insert(self, schedule: Schedule) -> bool:
        """The definition alone. False if the agent has an active schedule of that name."""

    def create(
        self, schedule: Schedule, next_at: tuple[datetime, datetime] | None, tzdata_version: str
    ) -> bool:
        """The definition, its clock and the first row of its history.

        `next_at` is (nominal, due); None when paused. False if the agent has an active schedule
        of that name.
        """

    def get(self, agent_id: str, schedule_id: str) -> Schedule | None:
        """An active one; None when absent, deleted, or another agent's."""

    def find(self, schedule_id: str) -> Schedule | None:
        """An active one, whoever's it is."""

    def get_by_name(self, agent_id: str, name: str) -> Schedule | None: ...
    def list(
        self, agent_id: str, *, limit: int, only: Collection[str] | None = None
    ) -> Sequence[Schedule]:
        """Active ones, newest first; `only`: none but these (by id)."""

    def made_by(self, creator: JsonObject) -> Sequence[tuple[str, str]]:
        """Agent and id of the active ones whose creator is this one."""

    def update(self, schedule: Schedule) -> Schedule | None:
        """Write an edit under the next version; None: its name is another active one's."""

    def skip(self, schedule_id: str, nominal_at: datetime) -> None: ...

    def unskip(self, schedule_id: str, nominal_at: datetime) -> bool:
        """False: it was not skipped."""

    def mark_deleted(self, schedule_id: str) -> Schedule | None:
        """Soft delete; returns the row as it is now, None if it was not active."""

    def record_change(
        self,
        before: Schedule | None,
        after: Schedule,
        *,
        operation: str,
        actor: JsonObject,
        at: datetime,
        tzdata_version: str,
        reason: str | None = None,
        note: str | None = None,
    ) -> None:
        """Append to the change history. `at`: the instant by which the edit set the clock.

        An edit of an exhausted schedule also keeps since when it had been exhausted.
        """

    def contents(self, versions: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], Content]:
        """What those (schedule, version) had agents told, from the change history."""

    def skips(self, schedule_id: str) -> frozenset[datetime]:
        """The nominal times that a person took out, past ones too."""

    def activity(
        self, schedule_ids: Collection[str], *, ahead: int
    ) -> Mapping[str, ScheduleActivity]:
        """The live fields of many schedules at the cost of one; `ahead` bounds planned fires."""


class LedgerRepository(Protocol):
    """What is read of the ledger and the history across schedules, page by page."""

    def fires(
        self, wanted: FireFilter, *, limit: int, after: tuple[datetime, str] | None
    ) -> FiresFound:
        """Newest nominal time first; those behind `after` (nominal time, id)."""

    def changes(
        self, agent_id: str, schedule_id: str, *, limit: int, before: int | None
    ) -> Sequence[RecordedChange] | None:
        """Newest first; those numbered below `before`. Deleted schedules' too; None: no such."""

    def schedules(
        self,
        wanted: ScheduleFilter,
        order: ScheduleOrder,
        *,
        limit: int,
        after: tuple[str | datetime, str] | None,
    ) -> Sequence[Schedule]:
        """In that order; those behind `after` (value that is sorted by, id)."""

    def input_methods(self, agent_ids: Collection[str]) -> Mapping[str, str]:
        """How each agent takes its input."""


class KeyRepository(Protocol):
    """Answers by Idempotency-Key. A key's row is locked before any other."""

    def begin(self, scope: str, key: str, fingerprint: str) -> bool:
        """Take the key; False: it has its answer. Errors: InProgress after 3 s of waiting."""

    def find(self, scope: str, key: str) -> tuple[str, Answer] | None:
        """The fingerprint and the answer that are kept under this key."""

    def keep(self, scope: str, key: str, answer: Answer) -> None:
        """Write the answer beside the key that this transaction took."""

    def prune(self) -> None:
        """Forget what is older than 24 hours, a bounded number at once."""


class ClockRepository(Protocol):
    """`schedule_clock`: the schedule's mutex, and when it is due next."""

    def insert(
        self, schedule_id: str, next_at: tuple[datetime, datetime] | None, tzdata_version: str
    ) -> None:
        """`next_at` is (nominal, due); None when exhausted or paused."""

    def lock(self, schedule_id: str) -> None:
        """Wait for one schedule's mutex (API writers only). Errors: Busy after 3 s."""

    def set_next(self, schedule_id: str, next_at: tuple[datetime, datetime] | None) -> None:
        """The first (nominal, due) not yet planned; None: nothing is due any more."""

    def standing(self, schedule_id: str) -> Standing:
        """Of a schedule whose row the caller holds."""

    def read_due(
        self,
        *,
        since: datetime | None,
        until: datetime,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> Sequence[ClockReading]:
        """Clocks with since <= next_due_at < until, without locks, by (next_due_at, id)."""

    def read(self, schedule_id: str) -> ClockReading | None: ...

    def lock_unchanged(self, readings: Iterable[ClockReading]) -> set[str]:
        """Lock those that still stand as they were read; what others hold is left out, and so is
        what is switched off."""

    def advance(self, plans: Sequence[SchedulePlan]) -> None: ...

    def outdated(self, tzdata_version: str, *, limit: int) -> Sequence[OutdatedClock]:
        """Clocks that stand somewhere and were set under other zone rules, without locks."""

    def set_under(
        self, tzdata_version: str, times: Mapping[str, tuple[datetime, datetime] | None]
    ) -> None:
        """(nominal, due) of clocks whose rows the caller holds."""

    def lock_free(self, schedule_ids: Collection[str]) -> set[str]:
        """Lock those that nobody holds (SKIP LOCKED)."""

    def lock_all(self, schedule_ids: Collection[str]) -> None:
        """Wait for these rows, in id order (outcomes that touch the clock)."""

    def failures(self, schedule_ids: Collection[str]) -> Mapping[str, int]:
        """How many fires in a row failed."""

    def set_failures(self, counts: Mapping[str, int]) -> None: ...

    def count_fires(self, schedule_ids: Sequence[str]) -> Sequence[tuple[str, Gap]]:
        """One more fire, at this moment, for each id listed; the last one allowed stops the clock.

        Returns, by schedule, what stopped clocks that were behind had not come to.
        """


class SliceRepository(Protocol):
    """Slices: their emission and their end."""

    def open(self, slices: Collection[Slice], now: datetime, *, quietly: bool = False) -> None:
        """Insert those that are new, lock all FOR SHARE in key order, unsettle the settled.

        Who waits for work is told on commit, unless `quietly`: see `store.news` for whom.
        """

    def tell(self, slice_keys: Collection[str]) -> None:
        """Say, on commit, that they have something new."""

    def provide(self, slices: Collection[Slice], now: datetime) -> None:
        """Insert those that are new. Takes no lock on the others."""

    def standing_by(self, now: datetime) -> Slice | None:
        """The slice whose standby worker takes what is due now; None while there is none."""

    def worked(self, slice_keys: Collection[str]) -> set[str]:
        """Those of them that have a live dispatch."""

    def owing(
        self, now: datetime, horizon: timedelta, *, standby: bool = False
    ) -> Sequence[OwingSlice]:
        """Those that begin within the horizon, owe something and have no live dispatch.

        With `standby` a slice of kind `now` owes its presence, until its hour is almost over.
        """

    def next_emission(self, now: datetime, horizon: timedelta) -> datetime | None:
        """When the next unsettled slice may be emitted that may not be now."""

    def mark_emitted(self, slice_key: str, emit_after: datetime) -> None: ...

    def hasten(self, slice_keys: Collection[str], now: datetime) -> None:
        """The first re-emission after a run ended is at once."""

    def over_but_open(self, now: datetime, limit: int) -> Sequence[str]: ...

    def unsettled(self) -> Collection[str]:
        """Keys of the slices that are not over."""

    def crowded(self, most: int) -> Slice | None:
        """The newest slice of synchronous agents, if so many of them are being worked."""

    def settle(self, slice_keys: Collection[str]) -> None:
        """Settle those whose time is over and which hold nothing open."""


class DispatchRepository(Protocol):
    """Dagster runs at work on slices."""

    def begin(
        self, dagster_run_id: str, slice_key: str, *, by_person: bool, host: str, pid: int
    ) -> bool:
        """False when there is no such slice, or the run was already declared ended."""

    def require_live(self, dagster_run_id: str) -> None:
        """Lock the row FOR SHARE. Errors: DispatchEnded."""

    def heartbeat(self, dagster_run_id: str) -> bool:
        """False once the dispatch is finished."""

    def finish(self, dagster_run_id: str) -> None: ...

    def finish_ended(self, runs: Collection[EndedRun]) -> Mapping[str, str]:
        """Finish (or insert as finished) what Dagster says ended.

        Returns the slice keys, by run, of those that were not finished before.
        """

    def beating(self, dagster_run_ids: Collection[str], since: datetime) -> set[str]:
        """Those that had a heartbeat since then."""

    def declare_dead(self, silent_since: datetime) -> set[str]:
        """Finish those without a heartbeat since then; returns their slice keys."""


class FireRepository(Protocol):
    """The ledger's rows."""

    def plan(self, plans: Sequence[SchedulePlan]) -> int:
        """Insert the plans' fires and gaps; returns how many fires are new."""

    def insert_gap(self, schedule_id: str, gap: Gap) -> None: ...

    def insert_gaps(self, gaps: Sequence[tuple[str, Gap]]) -> None:
        """Of several schedules."""

    def cancel_slices(self, slice_keys: Collection[str]) -> None:
        """End what is open in slices that nobody works: a person cancelled their run."""

    def planned_ahead(self, schedule_id: str, now: datetime) -> Sequence[PlannedAhead]: ...

    def cancel(self, fire_ids: Collection[str]) -> None:
        """Planned fires that are no longer occurrences."""

    def move(self, moves: Sequence[FireMove]) -> None: ...

    def skip(self, schedule_id: str, nominal_at: datetime) -> bool:
        """End a planned fire; False when it has been claimed. None planned yet: True."""

    def get(self, fire_id: str) -> Fire | None: ...

    def insert_manual(
        self, fire_id: str, schedule: Schedule, now: datetime, into: Slice
    ) -> None: ...

    def reopen(self, fire_ids: Collection[str], now: datetime, into: Slice | None) -> None:
        """Undelivered ends become planned again, under the next redrive's key.

        `into`: another slice (its row is open already), or None: they stay in theirs.
        """

    def reopenable_in(self, slice_key: str) -> Sequence[str]:
        """Fires of the slice that a person's run takes up again."""


class ClaimRepository(Protocol):
    """The same rows, as runs claim, end and record them."""

    def open_in(self, slice_key: str, dagster_run_id: str, limit: int) -> Sequence[OpenFire]:
        """Planned ones, this run's own unfinished ones, and those of finished dispatches."""

    def lock_candidates(
        self, fire_ids: Collection[str], schedule_ids: Collection[str], dagster_run_id: str
    ) -> Sequence[Candidate]: ...

    def definitions(self, schedule_ids: Collection[str]) -> Mapping[str, Definition]: ...

    def claim(self, claims: Sequence[Claim], dagster_run_id: str) -> None: ...

    def end_unclaimed(self, ends: Sequence[tuple[str, FireState, FireReason]]) -> None: ...

    def write_outcomes(self, outcomes: Sequence[Outcome], dagster_run_id: str) -> set[str]:
        """Returns the ids of the fires that were still this run's."""

    def ended(self, fire_ids: Collection[str]) -> set[str]:
        """Those of them that have come to an end."""

    def unrecorded(self, slice_key: str, limit: int) -> Sequence[AuditRecord]: ...
    def mark_recorded(self, fire_ids: Collection[str]) -> None: ...


class OverlapRepository(Protocol):
    """Who is ahead, who waits in the ledger. The caller holds the clocks' rows."""

    def ahead(
        self, schedule_ids: Collection[str], with_open_tasks: Collection[str]
    ) -> Sequence[FireAhead]:
        """Unfinished fires of these schedules, and of the delivered ones those named."""

    def waiting(self, schedule_ids: Collection[str]) -> Mapping[str, Sequence[datetime]]:
        """The nominal times of their fires that wait; schedules without any are left out."""

    def hold(self, fires: Mapping[str, str]) -> None:
        """Let these planned fires (id: schedule) wait in the ledger."""

    def tell_to_stop(self, fire_ids: Collection[str]) -> None:
        """Note that they were told; what is written of them next is their end."""

    def note_last(self, fires: Mapping[str, str]) -> None:
        """For each schedule (the key) the fire that its agent's task comes from."""

    def previous_tasks(self, slice_key: str) -> Sequence[PreviousTask]:
        """Of those of the slice's schedules whose overlap is about tasks."""

    def waiting_schedules(self, limit: int) -> Sequence[WaitingSchedule]: ...

    def first_waiting(self, schedule_ids: Collection[str]) -> Sequence[WaitingFire]:
        """Of each of these schedules that has any."""

    def release(self, releases: Sequence[Release], now: datetime) -> set[str]:
        """Plan them anew, unless a fire of their schedule is under way or due already.

        Returns the keys of the slices that got any.
        """

    def slices_of_waiting(self, schedule_id: str) -> Collection[str]:
        """The keys of the slices that its waiting fires are in."""

    def drop_waiting(self, schedule_id: str) -> None:
        """End what waits: the schedule was deleted."""


class BackfillRepository(Protocol):
    """What persons want delivered of the past. The caller holds the schedule's clock."""

    def insert(self, backfill: Backfill, actor: JsonObject) -> None: ...
    def get(self, backfill_id: str) -> Backfill | None: ...
    def owner(self, backfill_id: str) -> tuple[str, str] | None:
        """The ids of the agent and the schedule that it is for, deleted ones too."""

    def being_fed(self, limit: int) -> Sequence[Backfill]: ...

    def standing(self, schedule_id: str, nominals: Sequence[datetime]) -> Sequence[str]:
        """What feeding these instants would find of each: `new`, `redrive` or its state."""

    def feed(
        self,
        schedule: Schedule,
        dated: Sequence[tuple[datetime, datetime]],
        into: Slice,
        now: datetime,
        backfill_id: str | None,
    ) -> int:
        """Give these instants (nominal, due) their fires; returns how many it made or redrove."""

    def feed_again(
        self,
        schedule: Schedule,
        dated: Sequence[tuple[datetime, datetime]],
        into: Slice,
        now: datetime,
        backfill_id: str,
    ) -> int:
        """A fire more for each instant whose own was delivered or skipped; returns how many."""

    def advance(self, backfill_id: str, next_at: datetime | None, left: int) -> None: ...

    def missed_since(self, gap_id: int, limit: int) -> Sequence[tuple[int, datetime, datetime]]:
        """(id, from, to) of gaps that a clock left behind that was not running, by id."""

    def gaps_in(
        self, from_at: datetime, to_at: datetime, after: tuple[str, datetime] | None, limit: int
    ) -> Sequence[GapOf]:
        """Of schedules that still exist, by (schedule, from), those behind `after`."""

    def missed_in(
        self, from_at: datetime, to_at: datetime, after: tuple[str, datetime] | None, limit: int
    ) -> Sequence[MissedFire]:
        """Of schedules that still exist, by (schedule, nominal), those behind `after`."""


class SwitchRepository(Protocol):
    """`clock_switches`. `agent_id` None: the switch for all."""

    def hold(self) -> None:
        """No switch is turned until this transaction ends; taken before clock rows."""

    def stopped(self) -> Stopped: ...
    def turn_off(self, agent_id: str | None, actor: JsonObject, note: str | None) -> None: ...
    def turn_on(self, agent_id: str | None, actor: JsonObject, note: str | None) -> None: ...
    def history(self, agent_id: str | None, *, limit: int) -> Sequence[Switch]:
        """Newest first."""


class AuditRepository(Protocol):
    """What the audit of a schedule's past reads, deleted schedules too."""

    def exists(self, agent_id: str, schedule_id: str) -> bool: ...

    def changes(
        self, schedule_id: str, *, since: datetime, until: datetime, limit: int
    ) -> Sequence[Change]:
        """The change in force at `since` and those up to `until`, oldest first."""

    def clock(self, schedule_id: str) -> ClockStanding: ...

    def fires(
        self, schedule_id: str, *, since: datetime, until: datetime, limit: int
    ) -> Sequence[LedgerFire]:
        """Of occurrences (neither manual nor forced) with since <= nominal <= until."""

    def gaps(
        self, schedule_id: str, *, since: datetime, until: datetime, limit: int
    ) -> Sequence[Gap]: ...

    def overdue(self, *, limit: int, only: Collection[str] | None = None) -> Sequence[Fire]:
        """Fires past due and not final, earliest first; `only`: of no schedules but these."""


class TaskRepository(Protocol):
    """Tasks of the local platform."""

    def create(self, tasks: Sequence[TaskRow]) -> None:
        """Get-or-create by name."""

    def create_by_hand(self, task: TaskRow) -> bool:
        """False: it is there already, and stays as it is."""

    def get(self, task_id: str) -> StoredTask | None: ...
    def get_by_name(self, name: str) -> StoredTask | None: ...
    def hold(self, task_id: str) -> StoredTask | None:
        """The task, locked until the transaction ends."""

    def list(self, wanted: TaskFilter, order: TaskOrder, span: Span) -> Sequence[StoredTask]: ...
    def ids_of_agent(self, agent_id: str) -> Collection[str]:
        """All tasks of this agent."""

    def update(
        self, task_id: str, *, task_metadata: JsonObject | None, merge_params: JsonObject | None
    ) -> StoredTask | None:
        """Metadata anew, parameters key by key; None leaves the one or the other as it is."""

    def set_params(self, task_id: str, params: JsonObject) -> StoredTask | None:
        """All its parameters anew."""

    def note_told(self, task_id: str) -> StoredTask | None:
        """Its agent knows of it: a task that failed for want of that goes on."""

    def note_untold(self, task_id: str, why: str) -> None:
        """Its agent was never told of it: so the task has failed."""

    def resume(self, task_id: str) -> None:
        """An interrupted one goes on."""

    def move(
        self, task_id: str, status: str, reason: str | None, *, by_its_agent: bool
    ) -> StoredTask | None:
        """Give it another status; None when it is final, or no task at all.

        `by_its_agent`: so it proves that the agent has what was sent before.
        """

    def moved_by_agents(self, fire_ids: Collection[str]) -> set[str]:
        """Those of the fires whose agents moved their task since the input could go out."""

    def not_final(self, task_ids: Collection[str]) -> set[str]:
        """Those of them that are at work, or were interrupted."""

    def withdraw(self, fire_ids: Collection[str]) -> None:
        """The tasks of these fires get no input: they are cancelled, unless they are final."""

    def stop(self, task_ids: Mapping[str, str]) -> None:
        """Their agents are told to stop: each (the key) gets its new status, unless it is final."""


class HeartbeatRepository(Protocol):
    """`clock_heartbeat`: is the clock running?"""

    def read(self) -> Heartbeat | None: ...
    def write(self, heartbeat: Heartbeat) -> None: ...


class Transaction(Protocol):
    """One transaction, with everything that can be done in it."""

    @property
    def agents(self) -> AgentRepository: ...
    @property
    def schedules(self) -> ScheduleRepository: ...
    @property
    def clocks(self) -> ClockRepository: ...
    @property
    def slices(self) -> SliceRepository: ...
    @property
    def dispatches(self) -> DispatchRepository: ...
    @property
    def fires(self) -> FireRepository: ...
    @property
    def claims(self) -> ClaimRepository: ...
    @property
    def backfills(self) -> BackfillRepository: ...
    @property
    def overlaps(self) -> OverlapRepository: ...
    @property
    def tasks(self) -> TaskRepository: ...
    @property
    def events(self) -> EventRepository: ...
    @property
    def messages(self) -> MessageRepository: ...
    @property
    def heartbeat(self) -> HeartbeatRepository: ...
    @property
    def switches(self) -> SwitchRepository: ...
    @property
    def audit(self) -> AuditRepository: ...
    @property
    def ledger(self) -> LedgerRepository: ...
    @property
    def keys(self) -> KeyRepository: ...
    @property
    def principals(self) -> PrincipalRepository: ...

    def now(self) -> datetime:
        """The database's clock, at this statement."""

    def try_to_be_the_only_tick(self) -> bool:
        """Until the transaction ends; False when another tick emits right now."""


class Store(Protocol):
    """The database."""

    def run(self, work: Callable[[Transaction], T]) -> T:
        """`work` in one transaction; again after a deadlock. Errors: Unavailable and its leaves."""
