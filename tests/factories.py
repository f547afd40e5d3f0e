"""Valid objects by default; each test changes what it is about."""

from datetime import UTC, datetime
from typing import Any

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.schedule import AcpType, Agent, AgentStatus, Schedule
from schedules_pipeline.services.managing import ScheduleDraft

NOW = datetime(2026, 6, 24, 9, 0, tzinfo=UTC)


def an_agent(**changes: Any) -> Agent:
    fields: dict[str, Any] = {
        "id": "agent-1",
        "name": "reporter",
        "description": "Writes reports",
        "acp_type": AcpType.ASYNC,
        "acp_url": "http://127.0.0.1:9",
        "status": AgentStatus.READY,
        "api_key": "key",
        "registration_metadata": None,
        "agent_input_type": None,
        "created_at": NOW,
        "updated_at": NOW,
        "registered_at": NOW,
    }
    return Agent(**(fields | changes))


def a_schedule(**changes: Any) -> Schedule:
    fields: dict[str, Any] = {
        "id": "schedule-1",
        "agent_id": "agent-1",
        "name": "hourly",
        "description": None,
        "cadence": Cadence(interval_seconds=3600),
        "paused": False,
        "task_params": None,
        "task_metadata": None,
        "initial_input": {"type": "text", "author": "user", "content": "hi"},
        "creator_principal": {},
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "deleted_at": None,
    }
    return Schedule(**(fields | changes))


def a_draft(**changes: Any) -> ScheduleDraft:
    fields: dict[str, Any] = {
        "name": "hourly",
        "cadence": Cadence(interval_seconds=3600),
        "initial_input": {"type": "text", "author": "user", "content": "hi"},
    }
    return ScheduleDraft(**(fields | changes))
