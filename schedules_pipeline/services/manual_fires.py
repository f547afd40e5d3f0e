"""One more fire, because a person said so: in the slice that is worked now."""

from datetime import datetime
from uuid import uuid4

from schedules_pipeline.domain.fire import manual_fire_id
from schedules_pipeline.domain.schedule import Agent, Schedule
from schedules_pipeline.services.standby import slice_now
from schedules_pipeline.services.store_port import Transaction


def insert_manual(tx: Transaction, agent: Agent, schedule: Schedule, now: datetime) -> str:
    """Returns its id. The caller holds the schedule's clock, or has just made it."""
    fire_id = manual_fire_id(schedule.id, str(uuid4()), now)
    present = slice_now(tx, agent.acp_type, now)
    tx.slices.open({present}, now)
    tx.fires.insert_manual(fire_id, schedule, now, present)
    return fire_id
