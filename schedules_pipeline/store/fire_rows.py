"""How a row of `fires` is read."""

from typing import Any

from sqlalchemy import Row

from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.services.store_port import Fire

FIRE_COLUMNS = """
    f.id as fire_id, f.schedule_id, f.agent_id, f.nominal_at, f.due_at, f.trigger_type, f.state,
    f.reason, f.task_id, f.idempotency_key, f.attempts, f.claimed_by as dagster_run_id, f.sent_at,
    f.delivered_at, f.finished_at, f.possible_duplicate, f.error, f.reply_excerpt
"""
"""For a query that calls `fires` f."""


def fire_from(row: Row[Any]) -> Fire:
    """A row selected with `FIRE_COLUMNS`."""
    return Fire(
        id=row.fire_id,
        schedule_id=row.schedule_id,
        agent_id=row.agent_id,
        nominal_at=row.nominal_at,
        due_at=row.due_at,
        trigger_type=TriggerType(row.trigger_type),
        state=FireState(row.state),
        reason=None if row.reason is None else FireReason(row.reason),
        task_id=row.task_id,
        idempotency_key=row.idempotency_key,
        attempts=row.attempts,
        dagster_run_id=row.dagster_run_id,
        sent_at=row.sent_at,
        delivered_at=row.delivered_at,
        finished_at=row.finished_at,
        possible_duplicate=row.possible_duplicate,
        error=row.error,
        reply_excerpt=row.reply_excerpt,
    )
