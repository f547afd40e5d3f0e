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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The defaults are what an old client's schedule gets."""

    catchup_policy: CatchupPolicy = CatchupPolicy.LATEST
    catchup_window_seconds: int = 3_600
    max_fires: int | None = None
    """How many first claims until the schedule is exhausted; None: no limit."""
    pause_after_failures: int | None = None
    """How many fires in a row may fail before the schedule pauses itself; None: any number."""

    @property
    def catchup_window(self) -> timedelta:
        """How old an occurrence may be to be made up."""
        return timedelta(seconds=self.catchup_window_seconds)

    def exhausted_by(self, fire_count: int) -> bool:
        """Whether a clock that has fired so often may fire no more."""
        return self.max_fires is not None and fire_count >= self.max_fires
