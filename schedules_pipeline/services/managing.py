"""Schedules: create, list, show, delete. Each is decided and written in one short transaction.

The clock's row is the schedule's mutex and is locked before anything else of an existing schedule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from schedules_pipeline.domain.cadence import Cadence, validate_new
from schedules_pipeline.domain.planning import first_occurrence
from schedules_pipeline.domain.schedule import Agent, JsonObject, Schedule
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.live import ScheduleView, view, views
from schedules_pipeline.services.planning import PlanningRules, plan_at_once
from schedules_pipeline.services.registering import require_agent
from schedules_pipeline.services.store_port import Store, Transaction

LIVE_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDraft:
    """What somebody wants to happen, before it has an id."""

    name: str
    cadence: Cadence
    initial_input: JsonObject
    description: str | None = None
    paused: bool = False
    task_params: JsonObject | None = None
    task_metadata: JsonObject | None = None


class Schedules:
    """The schedules of agents."""

    def __init__(self, store: Store, rules: PlanningRules) -> None:
        self._store = store
        self._rules = rules

    def create(self, agent_id: str, draft: ScheduleDraft, principal: JsonObject) -> ScheduleView:
        """Insert the schedule and set its clock; what is due within the horizon is planned at once.

        Errors: NotFound (agent), InvalidCadence, Rejected (the name is taken).
        """
        agent, now = self._store.run(lambda tx: (require_agent(tx, agent_id), tx.now()))
        # Searching for an occurrence may take a while, so no transaction is open meanwhile.
        validate_new(draft.cadence, now)
        schedule = _schedule(agent, draft, principal, now)
        next_at = None if draft.paused else first_occurrence(schedule, now)
        return self._store.run(lambda tx: self._insert(tx, schedule, agent, next_at))

    def list(self, agent_id: str, *, limit: int, live: bool) -> Sequence[ScheduleView]:
        """Newest first; with `live`, the first 200 carry live data. Errors: NotFound (agent)."""
        return self._store.run(lambda tx: _list(tx, agent_id, limit, LIVE_ROWS if live else 0))

    def get(self, agent_id: str, schedule_id: str) -> ScheduleView:
        """Errors: NotFound."""
        return self._store.run(lambda tx: _show(tx, require_schedule(tx, agent_id, schedule_id)))

    def get_by_name(self, agent_id: str, name: str) -> ScheduleView:
        """Errors: NotFound."""
        return self._store.run(lambda tx: _show(tx, require_named(tx, agent_id, name)))

    def delete(self, agent_id: str, schedule_id: str, principal: JsonObject) -> str:
        """Soft-delete it; returns its id. What is planned ends `skipped/deleted` when it is due.

        Errors: NotFound; Busy when its row stays locked.
        """
        return self._store.run(
            lambda tx: _delete(tx, require_schedule(tx, agent_id, schedule_id), principal)
        )

    def delete_by_name(self, agent_id: str, name: str, principal: JsonObject) -> str:
        """As `delete`."""
        return self._store.run(lambda tx: _delete(tx, require_named(tx, agent_id, name), principal))

    def _insert(
        self,
        tx: Transaction,
        schedule: Schedule,
        agent: Agent,
        next_at: tuple[datetime, datetime] | None,
    ) -> ScheduleView:
        if not tx.schedules.insert(schedule):
            raise Rejected(
                f"Run schedule '{schedule.name}' already exists for agent '{schedule.agent_id}'"
            )
        tx.clocks.insert(schedule.id, next_at, TZDATA_VERSION)
        _record(tx, None, schedule, "create", schedule.creator_principal)
        plan_at_once(tx, schedule.id, self._rules)
        return view(tx, schedule, agent)


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


def _list(tx: Transaction, agent_id: str, limit: int, live: int) -> list[ScheduleView]:
    agent = require_agent(tx, agent_id)
    return views(tx, tx.schedules.list(agent_id, limit=limit), agent, live=live)


def _show(tx: Transaction, schedule: Schedule) -> ScheduleView:
    return view(tx, schedule, require_agent(tx, schedule.agent_id))


def _delete(tx: Transaction, seen: Schedule, principal: JsonObject) -> str:
    tx.clocks.lock(seen.id)
    # Read again under the lock: another may have edited or deleted it while we waited.
    before = require_schedule(tx, seen.agent_id, seen.id)
    tx.clocks.stop(seen.id)
    after = tx.schedules.mark_deleted(seen.id)
    assert after is not None, "nobody else deletes while we hold the clock's row"
    _record(tx, before, after, "delete", principal)
    return seen.id


def _record(
    tx: Transaction, before: Schedule | None, after: Schedule, operation: str, actor: JsonObject
) -> None:
    tx.schedules.record_change(
        before, after, operation=operation, actor=actor, tzdata_version=TZDATA_VERSION
    )


def _schedule(agent: Agent, draft: ScheduleDraft, principal: JsonObject, now: datetime) -> Schedule:
    return Schedule(
        id=str(uuid4()),
        agent_id=agent.id,
        name=draft.name,
        description=draft.description,
        cadence=draft.cadence,
        paused=draft.paused,
        task_params=draft.task_params,
        task_metadata=draft.task_metadata,
        initial_input=draft.initial_input,
        creator_principal=principal,
        version=1,
        created_at=now,
        updated_at=now,
        deleted_at=None,
    )
