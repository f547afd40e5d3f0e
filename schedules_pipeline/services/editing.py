"""Edits of a schedule: PATCH, pause, resume, skip, unskip, delete. Edits win at once.

What a fire carries is decided at its claim, so an edit of *what* needs nothing else. An edit of
*when* sets the clock to the first occurrence that is still ahead and plans at once what falls
before the frontier: the next tick may come too late for it. Nothing of the past is replayed.

Each edit is one short transaction that holds the clock's row, the schedule's mutex, from its
beginning: a claim or a tick sees all of it or nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from schedules_pipeline.domain.cadence import validate_new
from schedules_pipeline.domain.fire import GapReason
from schedules_pipeline.domain.occurrences import due_at, next_occurrence, previous_occurrence
from schedules_pipeline.domain.planning import INSTANT, first_occurrence
from schedules_pipeline.domain.schedule import JsonObject, Schedule
from schedules_pipeline.domain.slices import slice_of, utc_stamp
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.errors import Rejected
from schedules_pipeline.services.managing import require_named, require_schedule
from schedules_pipeline.services.planning import (
    PlanningRules,
    cover,
    plan_at_once,
    realign_ahead,
)
from schedules_pipeline.services.preconditions import ANY, Expected
from schedules_pipeline.services.store_port import Store, Transaction

Change = Callable[[Schedule], Schedule]


def _never(_schedule: Schedule) -> bool:
    return False


class Editor:
    """Edits of existing schedules.

    Every method's errors: NotFound; Stale when the schedule is not at a version that `expected`
    names; Busy after 3 s of waiting.
    """

    def __init__(self, store: Store, rules: PlanningRules) -> None:
        self._store = store
        self._rules = rules

    def find(self, agent_id: str, name: str) -> str:
        """The id of the active schedule of that name."""
        return self._store.run(lambda tx: require_named(tx, agent_id, name)).id

    def update(
        self,
        agent_id: str,
        schedule_id: str,
        change: Change,
        actor: JsonObject,
        expected: Expected = ANY,
    ) -> None:
        """Apply `change` to the definition.

        Errors: Rejected (the name is taken), InvalidCadence.
        """
        self._edit(agent_id, schedule_id, change, "update", actor, None, expected)

    def pause(
        self,
        agent_id: str,
        schedule_id: str,
        actor: JsonObject,
        note: str | None,
        expected: Expected = ANY,
    ) -> None:
        """Nothing fires until it is resumed. Planned fires end at their due time, not now."""
        self._edit(agent_id, schedule_id, _paused, "pause", actor, note, expected)

    def resume(
        self,
        agent_id: str,
        schedule_id: str,
        actor: JsonObject,
        note: str | None,
        expected: Expected = ANY,
    ) -> None:
        """Go on with the first occurrence that is ahead: what the pause covered is not replayed."""
        self._edit(agent_id, schedule_id, _resumed, "resume", actor, note, expected)

    def pause_active(
        self, agent_id: str, schedule_id: str, actor: JsonObject, note: str | None
    ) -> bool:
        """Pause it; False, and nothing is written, when it is paused already."""
        return self._edit(agent_id, schedule_id, _paused, "pause", actor, note, idle=_is_paused)

    def resume_paused(
        self, agent_id: str, schedule_id: str, actor: JsonObject, note: str | None
    ) -> bool:
        """Resume it; False, and nothing is written, when it is active already."""
        return self._edit(agent_id, schedule_id, _resumed, "resume", actor, note, idle=_is_active)

    def hand_over(
        self,
        agent_id: str,
        schedule_id: str,
        creators: tuple[JsonObject, JsonObject],
        actor: JsonObject,
        note: str,
    ) -> bool:
        """From one creator to another; False, and nothing is written, when it is not the first's
        any more."""
        giver, taker = creators

        def handed_over(schedule: Schedule) -> Schedule:
            return replace(schedule, creator_principal=taker)

        def is_not_the_givers(schedule: Schedule) -> bool:
            return schedule.creator_principal != giver

        return self._edit(
            agent_id, schedule_id, handed_over, "update", actor, note, idle=is_not_the_givers
        )

    def delete(
        self, agent_id: str, schedule_id: str, actor: JsonObject, expected: Expected = ANY
    ) -> None:
        """Soft-delete it. What is planned ends `skipped/deleted` when it is due."""

        def delete(tx: Transaction) -> None:
            before, now = _locked(tx, agent_id, schedule_id, expected)
            cover(tx, schedule_id, now, GapReason.DELETED)
            tx.clocks.set_next(schedule_id, None)
            _drop_waiting(tx, schedule_id, now)
            after = tx.schedules.mark_deleted(schedule_id)
            assert after is not None, "nobody else deletes while we hold the clock's row"
            _record(tx, before, after, "delete", actor, now)

        self._store.run(delete)

    def skip(
        self,
        agent_id: str,
        schedule_id: str,
        nominal_at: datetime,
        actor: JsonObject,
        expected: Expected = ANY,
    ) -> None:
        """Take one coming occurrence out; again: nothing changes.

        Works until the occurrence's fire is claimed. Errors: Rejected when it is past, is no
        occurrence (the nearest ones are named), or is being delivered.
        """

        def skip(tx: Transaction) -> None:
            before, now = _locked(tx, agent_id, schedule_id, expected)
            _require_ahead(before, nominal_at, now, "skip")
            _require_occurrence(before, nominal_at, now)
            if not tx.fires.skip(schedule_id, nominal_at):
                raise Rejected(
                    f"Cannot skip {utc_stamp(nominal_at)}: its fire has been started already."
                )
            tx.schedules.skip(schedule_id, nominal_at)
            self._touch(tx, before, "skip", actor, now, nominal_at)

        self._store.run(skip)

    def unskip(
        self,
        agent_id: str,
        schedule_id: str,
        nominal_at: datetime,
        actor: JsonObject,
        expected: Expected = ANY,
    ) -> None:
        """Put a skipped occurrence back while its time is ahead. Errors: Rejected."""

        def unskip(tx: Transaction) -> None:
            before, now = _locked(tx, agent_id, schedule_id, expected)
            _require_ahead(before, nominal_at, now, "unskip")
            if not tx.schedules.unskip(schedule_id, nominal_at):
                raise Rejected("Cannot unskip a time that is not currently skipped")
            self._touch(tx, before, "unskip", actor, now, nominal_at)
            stood_at = tx.clocks.standing(schedule_id).next_nominal_at
            # Planned already: plan again from now on, which changes nothing else. A clock that is
            # behind comes to it by itself; one that stands nowhere has passed its last.
            if not before.paused and (stood_at is None or stood_at > nominal_at):
                self._plan_from(tx, before, now)

        self._store.run(unskip)

    def _touch(
        self,
        tx: Transaction,
        before: Schedule,
        operation: str,
        actor: JsonObject,
        now: datetime,
        nominal_at: datetime,
    ) -> None:
        """A new version: a tick that read the skips before must not write its plan."""
        after = tx.schedules.update(before)
        assert after is not None, "its name has not changed"
        _record(tx, before, after, operation, actor, now, utc_stamp(nominal_at))

    def _edit(
        self,
        agent_id: str,
        schedule_id: str,
        change: Change,
        operation: str,
        actor: JsonObject,
        note: str | None,
        expected: Expected = ANY,
        idle: Callable[[Schedule], bool] = _never,
    ) -> bool:
        def edit(tx: Transaction) -> bool:
            before, now = _locked(tx, agent_id, schedule_id, expected)
            if idle(before):
                return False
            wanted = change(before)
            if wanted.cadence != before.cadence:
                validate_new(wanted.cadence, now)
            after = tx.schedules.update(wanted)
            if after is None:
                raise Rejected(
                    f"Run schedule '{wanted.name}' already exists for agent '{agent_id}'"
                )
            _record(tx, before, after, operation, actor, now, note)
            if (before.cadence, before.paused) != (after.cadence, after.paused):
                self._set_clock(tx, after, now)
            elif before.policies.max_fires != after.policies.max_fires:
                self._set_limit(tx, after, now)
            if before.paused and not after.paused:
                tx.clocks.set_failures({schedule_id: 0})
            return True

        return self._store.run(edit)

    def _set_clock(self, tx: Transaction, after: Schedule, now: datetime) -> None:
        """Cover what the clock had not come to; then go on from the present moment."""
        if after.paused:
            cover(tx, after.id, now, GapReason.PAUSED)
            tx.clocks.set_next(after.id, None)
            return
        cover(tx, after.id, now, GapReason.SCHEDULE_CHANGED)
        realign_ahead(tx, after, now)
        self._plan_from(tx, after, now)

    def _set_limit(self, tx: Transaction, after: Schedule, now: datetime) -> None:
        """Stop a clock that has fired often enough; start one that may go on."""
        if after.paused:
            return
        standing = tx.clocks.standing(after.id)
        if after.policies.exhausted_by(standing.fire_count):
            cover(tx, after.id, now, GapReason.SCHEDULE_CHANGED)
            tx.clocks.set_next(after.id, None)
        elif standing.next_nominal_at is None:
            self._plan_from(tx, after, now)

    def _plan_from(self, tx: Transaction, schedule: Schedule, now: datetime) -> None:
        """Set the clock to the first occurrence ahead, and plan what falls before the frontier."""
        exhausted = schedule.policies.exhausted_by(tx.clocks.standing(schedule.id).fire_count)
        tx.clocks.set_next(schedule.id, None if exhausted else first_occurrence(schedule, now))
        plan_at_once(tx, schedule.id, self._rules)


def _locked(
    tx: Transaction, agent_id: str, schedule_id: str, expected: Expected
) -> tuple[Schedule, datetime]:
    """The schedule as it is under its mutex, and the time."""
    require_schedule(tx, agent_id, schedule_id)
    tx.clocks.lock(schedule_id)
    # Read again: another may have edited or deleted it while we waited.
    schedule = require_schedule(tx, agent_id, schedule_id)
    expected.require(schedule)
    return schedule, tx.now()


def _drop_waiting(tx: Transaction, schedule_id: str, now: datetime) -> None:
    """What waits ends now; the slices that it came from owe its record, settled or not."""
    if keys := tx.overlaps.slices_of_waiting(schedule_id):
        tx.slices.open({slice_of(key) for key in keys}, now)
        tx.overlaps.drop_waiting(schedule_id)


def _record(
    tx: Transaction,
    before: Schedule,
    after: Schedule,
    operation: str,
    actor: JsonObject,
    now: datetime,
    note: str | None = None,
) -> None:
    tx.schedules.record_change(
        before,
        after,
        operation=operation,
        actor=actor,
        at=now,
        tzdata_version=TZDATA_VERSION,
        note=note,
    )


def _paused(schedule: Schedule) -> Schedule:
    return replace(schedule, paused=True)


def _resumed(schedule: Schedule) -> Schedule:
    return replace(schedule, paused=False)


def _is_paused(schedule: Schedule) -> bool:
    return schedule.paused


def _is_active(schedule: Schedule) -> bool:
    return not schedule.paused


def _require_ahead(schedule: Schedule, nominal_at: datetime, now: datetime, verb: str) -> None:
    """By the due time: a jittered fire's nominal time passes before it goes out."""
    if due_at(schedule.cadence, schedule.id, nominal_at) <= now:
        raise Rejected(f"Cannot {verb} a past scheduled time")


def _require_occurrence(schedule: Schedule, nominal_at: datetime, now: datetime) -> None:
    following = next_occurrence(schedule.cadence, nominal_at - INSTANT)
    if following == nominal_at:
        return
    before = previous_occurrence(schedule.cadence, nominal_at)
    near = [utc_stamp(t) for t in (before, following) if t is not None and t > now]
    named = f"; the nearest ones are {' and '.join(near)}" if near else "; none is coming"
    raise Rejected(f"Cannot skip a time that is not an upcoming schedule action{named}")
