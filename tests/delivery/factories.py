"""Assignments to deliver: valid by default, each part can be named."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from schedules_pipeline.domain.schedule import AcpType, Agent, AgentStatus, JsonObject
from schedules_pipeline.services.platform_port import Assignment, Task

CREATED_AT = datetime(2026, 6, 24, 8, 59, 58, 123456, tzinfo=UTC)
FIRE_ID = "agent-run-schedule:s-1-run-2026-06-24T09:00:00Z"


def make_agent(acp_url: str, acp_type: AcpType = AcpType.ASYNC, **changes: Any) -> Agent:
    """An agent that listens at `acp_url`."""
    values: dict[str, Any] = {
        "id": "agent-1",
        "name": "reporter",
        "description": "Writes reports.",
        "acp_type": acp_type,
        "acp_url": acp_url,
        "status": AgentStatus.READY,
        "api_key": "key-of-the-agent",
        "registration_metadata": {"region": "eu"},
        "agent_input_type": "text",
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
        "registered_at": CREATED_AT,
    }
    return Agent(**values | changes)


def make_assignment(
    acp_url: str,
    acp_type: AcpType = AcpType.ASYNC,
    *,
    content: str = "hello",
    number: int = 1,
    params: JsonObject | None = None,
    **agent: Any,
) -> Assignment:
    """A fire's task and input. Another `number`, another fire."""
    key = FIRE_ID if number == 1 else f"{FIRE_ID}#{number}"
    task = Task(
        id=f"task-{number}",
        name=f"scheduled-run:s-1:{key}",
        agent_id="agent-1",
        status="RUNNING",
        params=params,
        task_metadata={"display_name": "daily", "idempotency_key": key},
        created_at=CREATED_AT,
    )
    return Assignment(
        fire_id=FIRE_ID,
        agent=make_agent(acp_url, acp_type, **agent),
        task=task,
        input_author="user",
        input_content=content,
        idempotency_key=key,
        event_sequence=7,
    )


class NoTasks:
    """Tasks that no agent has ever moved, and that are all final."""

    def moved_by_agents(self, _fire_ids: Collection[str]) -> Collection[str]:
        return ()

    def not_final(self, _task_ids: Collection[str]) -> Collection[str]:
        return ()
