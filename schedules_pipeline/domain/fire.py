"""Fires: states, reasons, legal moves and names. The state machine is the table `LEGAL_MOVES`.

docs/state-machine.md draws it; a trigger enforces it in the database (migrations 0001, 0003, 0004).
"""

from datetime import datetime
from enum import StrEnum
from uuid import NAMESPACE_URL, uuid5

from schedules_pipeline.domain.slices import utc_stamp


class FireState(StrEnum):
    """Where a fire is on its way. See `FINAL` for the ends."""

    PLANNED = "planned"
    WAITING = "waiting"
    CLAIMED = "claimed"
    TASK_CREATED = "task_created"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FireReason(StrEnum):
    """Why a fire waits, or ended other than delivered."""

    AGENT_ERROR = "agent_error"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BAD_REPLY = "bad_reply"
    DELIVERY_UNKNOWN = "delivery_unknown"
    INTERNAL_ERROR = "internal_error"
    ACCESS_UNAVAILABLE = "access_unavailable"
    PAUSED = "paused"
    DELETED = "deleted"
    AGENT_DELETED = "agent_deleted"
    SKIPPED_BY_USER = "skipped_by_user"
    OVERLAP = "overlap"
    EXHAUSTED = "exhausted"
    BUFFER_FULL = "buffer_full"
    PERMISSION_DENIED = "permission_denied"
    CATCHUP_NONE = "catchup_none"
    COALESCED = "coalesced"
    CATCHUP_WINDOW = "catchup_window"
    STALE = "stale"
    SCHEDULE_CHANGED = "schedule_changed"
    RUN_CANCELLED = "run_cancelled"


class GapReason(StrEnum):
    """Why a stretch of a schedule's time was never planned."""

    CATCHUP_NONE = "catchup_none"
    COALESCED = "coalesced"
    CATCHUP_WINDOW = "catchup_window"
    SCHEDULE_CHANGED = "schedule_changed"
    PAUSED = "paused"
    DELETED = "deleted"
    EXHAUSTED = "exhausted"


class TriggerType(StrEnum):
    """Why a fire exists."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"

    @property
    def by_clock(self) -> bool:
        """Whether no person asked for this very fire."""
        return self is TriggerType.SCHEDULED


FINAL = frozenset(
    {
        FireState.DELIVERED,
        FireState.SKIPPED,
        FireState.MISSED,
        FireState.FAILED,
        FireState.CANCELLED,
    }
)

_S, _R = FireState, FireReason
_DELIVERY_TROUBLE = frozenset({_R.AGENT_ERROR, _R.UNREACHABLE, _R.TIMEOUT, _R.BAD_REPLY})

REASONS: dict[FireState, frozenset[FireReason]] = {
    _S.WAITING: frozenset({_R.OVERLAP}),
    _S.FAILED: _DELIVERY_TROUBLE | {_R.DELIVERY_UNKNOWN, _R.INTERNAL_ERROR, _R.ACCESS_UNAVAILABLE},
    _S.SKIPPED: frozenset(
        {
            _R.PAUSED,
            _R.DELETED,
            _R.AGENT_DELETED,
            _R.SKIPPED_BY_USER,
            _R.OVERLAP,
            _R.EXHAUSTED,
            _R.BUFFER_FULL,
            _R.PERMISSION_DENIED,
        }
    ),
    _S.MISSED: frozenset({_R.CATCHUP_NONE, _R.COALESCED, _R.CATCHUP_WINDOW, _R.STALE}),
    _S.CANCELLED: frozenset({_R.RUN_CANCELLED, _R.SCHEDULE_CHANGED, _R.OVERLAP}),
}
"""Each state that needs a reason, with the reasons it may have."""

LEGAL_MOVES: frozenset[tuple[FireState, FireState]] = frozenset(
    {
        (_S.PLANNED, _S.WAITING),
        (_S.PLANNED, _S.CLAIMED),
        (_S.PLANNED, _S.SKIPPED),
        (_S.PLANNED, _S.MISSED),
        (_S.PLANNED, _S.CANCELLED),
        (_S.WAITING, _S.PLANNED),
        (_S.WAITING, _S.SKIPPED),
        (_S.CLAIMED, _S.TASK_CREATED),
        (_S.CLAIMED, _S.FAILED),
        (_S.CLAIMED, _S.SKIPPED),
        (_S.CLAIMED, _S.MISSED),
        (_S.CLAIMED, _S.CANCELLED),
        (_S.TASK_CREATED, _S.DELIVERED),
        (_S.TASK_CREATED, _S.FAILED),
        (_S.TASK_CREATED, _S.SKIPPED),
        (_S.TASK_CREATED, _S.CANCELLED),
    }
)
"""(from, to). A row may also be updated without moving (a take-over, a counted attempt)."""

REOPENINGS: frozenset[tuple[FireState, FireReason]] = frozenset(
    {(_S.FAILED, reason) for reason in REASONS[_S.FAILED]}
    | {(_S.MISSED, reason) for reason in REASONS[_S.MISSED]}
    | {
        (_S.CANCELLED, _R.RUN_CANCELLED),
        (_S.CANCELLED, _R.SCHEDULE_CHANGED),
        (_S.SKIPPED, _R.SKIPPED_BY_USER),
    }
)
"""Ends that a decision may take back to `planned`: a redrive, an unskip, an edit of when."""

TASK_OF_FIRE = "scheduled-run:"
"""How the names of tasks begin that are made for fires, and of no others."""

STILL_SKIPPED = ((_S.CANCELLED, _R.SCHEDULE_CHANGED), (_S.SKIPPED, _R.SKIPPED_BY_USER))
"""An edit of when makes an instant an occurrence again that a person has taken out."""


def scheduled_fire_id(schedule_id: str, nominal_at: datetime) -> str:
    """The id of an occurrence's one fire, in the form that readers of Agentex tasks can parse."""
    return f"agent-run-schedule:{schedule_id}-run-{utc_stamp(nominal_at)}"


def manual_fire_id(schedule_id: str, unique: str, at: datetime) -> str:
    """The id of a fire that a person triggered; readers find its time at the end."""
    return f"agent-run-schedule:{schedule_id}-manual-{unique}-{utc_stamp(at)}"


def backfill_fire_id(schedule_id: str, unique: str, nominal_at: datetime) -> str:
    """The id of one more fire of an occurrence that had its own already."""
    return f"agent-run-schedule:{schedule_id}-backfill-{unique}-{utc_stamp(nominal_at)}"


def task_name(schedule_id: str, fire_id: str) -> str:
    """The task's name at the platform: the key under which it exists once."""
    return f"{TASK_OF_FIRE}{schedule_id}:{fire_id}"


def task_id(name: str) -> str:
    """The local platform's task id: a function of the name, so that one name is one id.

    Whoever repeats a fire (a take-over, a database restored from a backup) meets the same task.
    """
    return str(uuid5(NAMESPACE_URL, name))


def event_id(idempotency_key: str) -> str:
    """The id of the event that carries the input; an agent can deduplicate by it."""
    return str(uuid5(NAMESPACE_URL, idempotency_key))
