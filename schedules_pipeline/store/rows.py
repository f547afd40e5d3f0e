"""How rows of schedules, agents and fires are read: columns to select, and what they become.

The queries call the tables s (agent_run_schedules), a (agents) and f (fires).
"""

from typing import Any

from sqlalchemy import Row

from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, DstFold, DstGap
from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.domain.policies import (
    CatchupPolicy,
    DeliveryGuarantee,
    OverlapPolicy,
    OverlapScope,
    Policies,
)
from schedules_pipeline.domain.schedule import AcpType, Agent, AgentStatus, Schedule
from schedules_pipeline.services.stored import Fire

SCHEDULE_COLUMNS = """
    s.id as schedule_id, s.agent_id, s.name as schedule_name, s.description, s.cron_expression,
    s.interval_seconds, s.interval_phase_seconds, s.fire_at, s.timezone, s.cron_day_match,
    s.exclude_cron, s.dst_gap, s.dst_fold, s.start_at, s.end_at, s.jitter_seconds, s.paused,
    s.catchup_policy, s.catchup_window_seconds, s.max_fires, s.pause_after_failures,
    s.overlap_policy, s.overlap_scope, s.overlap_task_timeout_seconds, s.delivery_guarantee,
    s.task_params, s.task_metadata, s.initial_input, s.creator_principal, s.version,
    s.created_at, s.updated_at, s.deleted_at
"""

AGENT_COLUMNS = """
    a.id as agent_id, a.name as agent_name, a.description as agent_description, a.acp_type,
    a.acp_url, a.status as agent_status, a.api_key, a.registration_metadata, a.agent_input_type,
    a.created_at as agent_created_at, a.updated_at as agent_updated_at, a.registered_at
"""

FIRE_COLUMNS = """
    f.id as fire_id, f.schedule_id, f.agent_id, f.nominal_at, f.due_at, f.trigger_type, f.state,
    f.reason, f.task_id, f.idempotency_key, f.attempts, f.claimed_by as dagster_run_id, f.sent_at,
    f.delivered_at, f.finished_at, f.possible_duplicate, f.error, f.reply_excerpt
"""

# What the last try left behind goes: its end, its claim, its attempts, its error. The next claim
# takes the definition that is in force then, under a key of its own. Needs :now.
PLANNED_AGAIN = """
    state = 'planned', reason = null, finished_at = null, recorded_at = null,
    owed_at = greatest(:now, f.due_at), redrive_count = f.redrive_count + 1,
    idempotency_key = f.id || '#r' || (f.redrive_count + 1),
    attempts = 0, error = null, claimed_by = null, claimed_at = null, task_created_at = null,
    sent_at = null, reply_excerpt = null, schedule_version = null, possible_duplicate = false,
    stop_requested_at = null
"""


def schedule_from(row: Row[Any]) -> Schedule:
    """A row selected with `SCHEDULE_COLUMNS`."""
    return Schedule(
        id=row.schedule_id,
        agent_id=row.agent_id,
        name=row.schedule_name,
        description=row.description,
        cadence=_cadence(row),
        policies=_policies(row),
        paused=row.paused,
        task_params=row.task_params,
        task_metadata=row.task_metadata,
        initial_input=row.initial_input,
        creator_principal=row.creator_principal,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
    )


def _policies(row: Row[Any]) -> Policies:
    return Policies(
        catchup_policy=CatchupPolicy(row.catchup_policy),
        catchup_window_seconds=row.catchup_window_seconds,
        max_fires=row.max_fires,
        pause_after_failures=row.pause_after_failures,
        overlap_policy=OverlapPolicy(row.overlap_policy),
        overlap_scope=OverlapScope(row.overlap_scope),
        overlap_task_timeout_seconds=row.overlap_task_timeout_seconds,
        delivery_guarantee=DeliveryGuarantee(row.delivery_guarantee),
    )


def _cadence(row: Row[Any]) -> Cadence:
    return Cadence(
        cron_expression=row.cron_expression,
        interval_seconds=row.interval_seconds,
        interval_phase_seconds=row.interval_phase_seconds,
        fire_at=row.fire_at,
        timezone=row.timezone,
        cron_day_match=CronDayMatch(row.cron_day_match),
        exclude_cron=tuple(row.exclude_cron),
        dst_gap=DstGap(row.dst_gap),
        dst_fold=DstFold(row.dst_fold),
        start_at=row.start_at,
        end_at=row.end_at,
        jitter_seconds=row.jitter_seconds,
    )


def agent_from(row: Row[Any]) -> Agent:
    """A row selected with `AGENT_COLUMNS`."""
    return Agent(
        id=row.agent_id,
        name=row.agent_name,
        description=row.agent_description,
        acp_type=AcpType(row.acp_type),
        acp_url=row.acp_url,
        status=AgentStatus(row.agent_status),
        api_key=row.api_key,
        registration_metadata=row.registration_metadata,
        agent_input_type=row.agent_input_type,
        created_at=row.agent_created_at,
        updated_at=row.agent_updated_at,
        registered_at=row.registered_at,
    )


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
