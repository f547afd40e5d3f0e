"""Is the clock ticking? Said to people; it decides nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from schedules_pipeline.domain.slices import utc_stamp
from schedules_pipeline.services.store_port import Store, Transaction

SILENT_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockState:
    """When the clock last ticked, and in words whether it still does."""

    text: str
    ticked_at: datetime | None


def clock_state(store: Store) -> ClockState:
    """What the heartbeat row says. Errors: Unavailable, SchemaMissing."""
    return store.run(_clock_state)


def _clock_state(tx: Transaction) -> ClockState:
    heartbeat = tx.heartbeat.read()
    if heartbeat is None:
        return ClockState(text="never ticked", ticked_at=None)
    at = heartbeat.ticked_at
    ticking = tx.now() - at <= SILENT_AFTER
    text = "ticking" if ticking else f"stopped or stalled since {utc_stamp(at)}"
    return ClockState(text=text, ticked_at=at)
