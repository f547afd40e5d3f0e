"""Schedules: create, list, show. Each is decided and written in one short transaction.

The clock's row is the schedule's mutex and is locked before anything else of an existing schedule.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from schedules_pipeline.domain.cadence import Cadence, validate_new
from schedules_pipeline.domain.planning import first_occurrence
from schedules_pipeline.domain.policies import Policies
from schedules_pipeline.domain.schedule import Agent, JsonObject, Schedule
from schedules_pipeline.domain.slices import planning_frontier
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.access_port import Resource, creator_of
from schedules_pipeline.services.live import ScheduleView, Seen, look, views
from schedules_pipeline.services.manual_fires import insert_manual
from schedules_pipeline.services.permitting import Permissions
from schedules_pipeline.services.planning import PlanningRules, plan_at_once
from schedules_pipeline.services.registering import require_agent, require_agent_now
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import ScheduleActivity

LIVE_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDraft:
    """What somebody wants to happen, before it has an id."""

    name: str
    cadence: Cadence
    initial_input: JsonObject
    policies: Policies = field(default_factory=Policies)
    description: str | None = None
    paused: bool = False
    trigger_immediately: bool = False
    task_params: JsonObject | None = None
    task_metadata: JsonObject | None = None


class Schedules:
    """The schedules of agents."""

    def __init__(
        self, store: Store, rules: PlanningRules, permissions: Permissions | None = None
    ) -> None:
        """`permissions`: who is to be told of what is made, if anybody."""
        self._store = store
        self._rules = rules
        self._permissions = permissions

    def create(self, agent_id: str, draft: ScheduleDraft, principal: JsonObject) -> ScheduleView:
        """Insert the schedule and set its clock; what is due within the horizon is planned at once.
        A draft may ask for one more fire, now: a manual trigger in the same transaction.

        Errors: NotFound (agent), InvalidCadence, Rejected (the name is taken); the authorizer's.
        """
        schedule_id = str(uuid4())
        with self._announced(agent_id, schedule_id, draft, principal):
            return _one(
                self._store.run(
                    lambda tx: self._create(tx, agent_id, schedule_id, draft, principal)
                )
            )

    def list(
        self, agent_id: str, *, limit: int, live: bool, only: Collection[str] | None = None
    ) -> Sequence[ScheduleView]:
        """Newest first; with `live`, the first 200 carry live data. `only`: no others than these.

        Errors: NotFound (agent).
        """
        most = LIVE_ROWS if live else 0
        return views(self._store.run(lambda tx: _list(tx, agent_id, limit, most, only)))

    def get(self, agent_id: str, schedule_id: str) -> ScheduleView:
        """Errors: NotFound."""
        return _one(
            self._store.run(lambda tx: _look(tx, require_schedule(tx, agent_id, schedule_id)))
        )

    def get_by_name(self, agent_id: str, name: str) -> ScheduleView:
        """Errors: NotFound."""
        return _one(self._store.run(lambda tx: _look(tx, require_named(tx, agent_id, name))))

    @contextmanager
    def _announced(
        self, agent_id: str, schedule_id: str, draft: ScheduleDraft, principal: JsonObject
    ) -> Iterator[None]:
        """Who keeps records hears of the schedule before it is there, and if it fails, of that.

        Nobody is asked while a transaction is open, except under an Idempotency-Key: there the
        key's own row is held, which only a repetition of this very request waits for.
        """
        if self._permissions is None or not self._permissions.keeps_records:
            yield
            return
        # What would fail is not announced. Of two that create one name at once, one fails later.
        self._store.run(lambda tx: _require_creatable(tx, agent_id, draft))
        made, parent = Resource.schedule(agent_id, schedule_id), Resource.agent(agent_id)
        with self._permissions.making(principal, made, parent):
            yield

    def _create(
        self,
        tx: Transaction,
        agent_id: str,
        schedule_id: str,
        draft: ScheduleDraft,
        principal: JsonObject,
    ) -> Seen:
        agent, now = require_agent_now(tx, agent_id)
        validate_new(draft.cadence, now)
        schedule = _schedule(agent, schedule_id, draft, principal, now)
        next_at = None if draft.paused else first_occurrence(schedule, now)
        if not tx.schedules.create(schedule, next_at, TZDATA_VERSION):
            raise _taken(agent_id, draft.name)
        soon = next_at is not None and next_at[1] < planning_frontier(now, self._rules.horizon)
        if not soon and not draft.trigger_immediately:
            return _just_created(agent, schedule, next_at)
        if draft.trigger_immediately:
            insert_manual(tx, agent, schedule, now)
        if soon:
            plan_at_once(tx, schedule.id, self._rules)
        return look(tx, _method(agent), [schedule], live=1)


def _require_creatable(tx: Transaction, agent_id: str, draft: ScheduleDraft) -> None:
    _, now = require_agent_now(tx, agent_id)
    validate_new(draft.cadence, now)
    if tx.schedules.get_by_name(agent_id, draft.name) is not None:
        raise _taken(agent_id, draft.name)


def _taken(agent_id: str, name: str) -> Rejected:
    return Rejected(f"Run schedule '{name}' already exists for agent '{agent_id}'")


def require_schedule(tx: Transaction, agent_id: str, schedule_id: str) -> Schedule:
    """An active schedule of this agent. Errors: NotFound, in the contract's words."""
    return _required(tx.schedules.get(agent_id, schedule_id), agent_id, schedule_id)


def require_named(tx: Transaction, agent_id: str, name: str) -> Schedule:
    """The agent's active schedule of that name. Errors: NotFound, in the contract's words."""
    return _required(tx.schedules.get_by_name(agent_id, name), agent_id, name)


def _required(schedule: Schedule | None, agent_id: str, handle: str) -> Schedule:
    if schedule is None:
        raise NotFound(f"Run schedule '{handle}' for agent '{agent_id}' does not exist.")
    return schedule


def _list(
    tx: Transaction, agent_id: str, limit: int, live: int, only: Collection[str] | None
) -> Seen:
    agent = require_agent(tx, agent_id)
    found = tx.schedules.list(agent_id, limit=limit, only=only)
    return look(tx, _method(agent), found, live=live)


def _look(tx: Transaction, schedule: Schedule) -> Seen:
    return look(tx, _method(require_agent(tx, schedule.agent_id)), [schedule], live=1)


def _method(agent: Agent) -> dict[str, str]:
    return {agent.id: agent.acp_type.input_method}


def _one(seen: Seen) -> ScheduleView:
    (shown,) = views(seen)
    return shown


def _just_created(
    agent: Agent, schedule: Schedule, next_at: tuple[datetime, datetime] | None
) -> Seen:
    """What a query would find of a schedule that nothing is planned of yet."""
    activity = ScheduleActivity(
        schedule_id=schedule.id,
        seen_at=schedule.created_at,
        next_nominal_at=None if next_at is None else next_at[0],
        planned_ahead=(),
        skipped=(),
        last_fire_at=None,
        fire_count=0,
    )
    return Seen(
        methods=_method(agent), schedules=[schedule], activity={schedule.id: activity}, live=1
    )


def _schedule(
    agent: Agent, schedule_id: str, draft: ScheduleDraft, principal: JsonObject, now: datetime
) -> Schedule:
    return Schedule(
        id=schedule_id,
        agent_id=agent.id,
        name=draft.name,
        description=draft.description,
        cadence=draft.cadence,
        policies=draft.policies,
        paused=draft.paused,
        task_params=draft.task_params,
        task_metadata=draft.task_metadata,
        initial_input=draft.initial_input,
        creator_principal=creator_of(principal),
        version=1,
        created_at=now,
        updated_at=now,
        deleted_at=None,
    )
