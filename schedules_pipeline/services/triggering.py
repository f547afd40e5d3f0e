"""Fires that a person asks for: a manual trigger, and the redrive of one that ended undelivered.

They go out whatever the clock does: while the schedule is paused, outside its window, beyond its
limit, beside a fire that is under way.
"""

from schedules_pipeline.domain.fire import REOPENINGS
from schedules_pipeline.domain.slices import Slice, SliceKind, floor_minute
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.managing import require_schedule
from schedules_pipeline.services.manual_fires import insert_manual
from schedules_pipeline.services.preconditions import ANY, Expected
from schedules_pipeline.services.registering import require_agent
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import Fire


class Triggers:
    """What a person can start."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def trigger(self, agent_id: str, schedule_id: str, expected: Expected = ANY) -> str:
        """One more fire, now, for the standby or in the present minute's slice; returns its id.

        Errors: NotFound; Stale.
        """

        def trigger(tx: Transaction) -> str:
            schedule = require_schedule(tx, agent_id, schedule_id)
            tx.clocks.lock(schedule.id)
            schedule = require_schedule(tx, agent_id, schedule_id)
            expected.require(schedule)
            return insert_manual(tx, require_agent(tx, agent_id), schedule, tx.now())

        return self._store.run(trigger)

    def redrive(self, fire_id: str) -> Fire:
        """Deliver a fire that ended failed, missed or cancelled, under a key of its own.

        It carries the definition that is in force when it is claimed. Errors: NotFound; Rejected
        when the fire did not end so.
        """

        def redrive(tx: Transaction) -> Fire:
            fire = _require_fire(tx, fire_id)
            tx.clocks.lock(fire.schedule_id)
            fire = _require_fire(tx, fire_id)
            if not _redrivable(fire):
                raise Rejected(
                    f"Fire '{fire_id}' is {_end(fire)}; only failed, missed and cancelled fires "
                    "can be redriven."
                )
            now = tx.now()
            backlog = Slice(SliceKind.BACKLOG, floor_minute(now))
            into = tx.slices.standing_by(now) or backlog
            tx.slices.open({into}, now)
            tx.fires.reopen([fire_id], now, into)
            return _require_fire(tx, fire_id)

        return self._store.run(redrive)


def _require_fire(tx: Transaction, fire_id: str) -> Fire:
    fire = tx.fires.get(fire_id)
    if fire is None:
        raise NotFound(f"Fire '{fire_id}' does not exist.")
    return fire


def _redrivable(fire: Fire) -> bool:
    if fire.reason is None or (fire.state, fire.reason) not in REOPENINGS:
        return False
    return fire.reason not in ("schedule_changed", "skipped_by_user")


def _end(fire: Fire) -> str:
    return fire.state.value if fire.reason is None else f"{fire.state.value}/{fire.reason.value}"
