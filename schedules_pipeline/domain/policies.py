"""What a schedule wants done when things do not go as planned."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from schedules_pipeline.domain.fire import FireReason, GapReason


class CatchupPolicy(StrEnum):
    """What becomes of occurrences that are more than the grace late."""

    LATEST = "latest"
    """The newest one within the window is made up."""
    ALL = "all"
    """Every one within the window is."""
    NONE = "none"
    """None is."""

    @property
    def gap_reason(self) -> GapReason:
        """Why a stretch was never planned under this policy."""
        return GapReason(_MISSED_AS[self].value)

    @property
    def missed_reason(self) -> FireReason:
        """Why a planned fire ended missed under this policy."""
        return _MISSED_AS[self]


_MISSED_AS = {
    CatchupPolicy.LATEST: FireReason.COALESCED,
    CatchupPolicy.ALL: FireReason.CATCHUP_WINDOW,
    CatchupPolicy.NONE: FireReason.CATCHUP_NONE,
}


class OverlapPolicy(StrEnum):
    """What becomes of a fire while the agent is still busy with the schedule's one before it."""

    SKIP = "skip"
    """It is skipped."""
    ALLOW_ALL = "allow_all"
    """It goes out all the same."""
    BUFFER_ONE = "buffer_one"
    """It waits; later ones are skipped while it does."""
    BUFFER_ALL = "buffer_all"
    """It waits, and so do up to 100 in all."""
    CANCEL_OTHER = "cancel_other"
    """The one before is told to stop; it goes out when that one has, or 30 s later."""
    TERMINATE_OTHER = "terminate_other"
    """The one before is told to stop, and it goes out at once."""


class OverlapScope(StrEnum):
    """Until when the agent counts as busy."""

    DELIVERY = "delivery"
    """Until it has taken the input (and, for synchronous agents, answered)."""
    TASK = "task"
    """Until the task made for the fire is final."""


class DeliveryGuarantee(StrEnum):
    """What is done when nobody can know whether the agent got an input."""

    AT_LEAST_ONCE = "at_least_once"
    """It is sent again, under the same key, and marked as a possible duplicate."""
    AT_MOST_ONCE = "at_most_once"
    """It is not; the fire ends `failed/delivery_unknown`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The defaults are what an old client's schedule gets."""

    catchup_policy: CatchupPolicy = CatchupPolicy.LATEST
    catchup_window_seconds: int = 3_600
    max_fires: int | None = None
    """How many first claims until the schedule is exhausted; None: no limit."""
    pause_after_failures: int | None = None
    """How many fires in a row may fail before the schedule pauses itself; None: any number."""
    overlap_policy: OverlapPolicy = OverlapPolicy.SKIP
    overlap_scope: OverlapScope = OverlapScope.DELIVERY
    overlap_task_timeout_seconds: int = 86_400
    """A task older than this no longer makes its agent busy."""
    delivery_guarantee: DeliveryGuarantee = DeliveryGuarantee.AT_LEAST_ONCE

    @property
    def catchup_window(self) -> timedelta:
        """How old an occurrence may be to be made up."""
        return timedelta(seconds=self.catchup_window_seconds)

    @property
    def buffers_deliveries(self) -> bool:
        """Whether the end of one delivery may let the next fire go."""
        return (
            self.overlap_policy in (OverlapPolicy.BUFFER_ONE, OverlapPolicy.BUFFER_ALL)
            and self.overlap_scope is OverlapScope.DELIVERY
        )

    def exhausted_by(self, fire_count: int) -> bool:
        """Whether a clock that has fired so often may fire no more."""
        return self.max_fires is not None and fire_count >= self.max_fires
