"""Is the clock ticking? Said to people; it decides nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from schedules_pipeline.domain.slices import utc_stamp
from schedules_pipeline.services.store_port import Transaction

SILENT_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockState:
    """When the clock last ticked, and in words whether it still does."""

    text: str
    ticked_at: datetime | None


def clock_state(tx: Transaction, agent_id: str | None = None) -> ClockState:
    """What the switches (all's, and this agent's) and the heartbeat row say.

    A silent clock may be stopped (its sensor's toggle) or stalled; only Dagster could tell.
    """
    heartbeat, stopped = tx.heartbeat.read(), tx.switches.stopped()
    ticked_at = None if heartbeat is None else heartbeat.ticked_at
    off_since = stopped.since(agent_id)
    if off_since is not None:
        whose = "for all agents" if stopped.all_since is not None else "for this agent"
        text = f"stopped since {utc_stamp(off_since)}: switched off {whose}"
    elif ticked_at is None:
        text = "never ticked"
    elif tx.now() - ticked_at <= SILENT_AFTER:
        text = "ticking"
    else:
        text = f"stopped or stalled since {utc_stamp(ticked_at)}"
    return ClockState(text=text, ticked_at=ticked_at)
