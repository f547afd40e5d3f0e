"""What is written to an agent's ACP server: JSON-RPC 2.0 requests, key for key as Agentex has them.

Pure functions. Nullable keys that we have no value for are sent as null: stock agents parse these
objects with required keys, and what is absent and what is null differ there.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from schedules_pipeline.domain.fire import event_id
from schedules_pipeline.domain.schedule import AcpType, Agent, JsonObject
from schedules_pipeline.services.platform_port import Assignment, Stop, Task


def task_create(assignment: Assignment) -> JsonObject:
    """Tell an agent that a task of its own exists."""
    return _request("task/create", "TASK_CREATE", assignment, {"params": assignment.task.params})


def event_send(assignment: Assignment) -> JsonObject:
    """Give an asynchronous agent its input. The event's id is a function of the idempotency key."""
    event = {
        "id": event_id(assignment.idempotency_key),
        "sequence_id": assignment.event_sequence,
        "task_id": assignment.task.id,
        "agent_id": assignment.agent.id,
        # The task's, not the present moment: a repeated event must not differ from the first.
        "created_at": _stamp(assignment.task.created_at),
        "content": _text_content(assignment),
    }
    return _request("event/send", "EVENT_SEND", assignment, {"event": event, "request": None})


def message_send(assignment: Assignment) -> JsonObject:
    """Give a synchronous agent its input; it answers in the same exchange, line by line."""
    content = _text_content(assignment)
    return _request(
        "message/send", "MESSAGE_SEND", assignment, {"content": content, "stream": True}
    )


def task_stop(stop: Stop) -> JsonObject:
    """Tell an agent to stop: a synchronous one is interrupted in its turn."""
    if stop.agent.acp_type is AcpType.SYNC:
        return _request("task/interrupt", "TASK_INTERRUPT", stop, {})
    return _request("task/cancel", "TASK_CANCEL", stop, {})


def _request(
    method: str, enum_name: str, about: Assignment | Stop, params: Mapping[str, object]
) -> JsonObject:
    return {
        "jsonrpc": "2.0",
        "method": method,
        # The spelling that Agentex itself sends. Agents echo it, nobody reads it.
        "id": f"AgentRPCMethod.{enum_name}-{about.task.id}",
        "params": {"agent": _agent(about.agent), "task": _task(about.task), **params},
    }


def _agent(agent: Agent) -> JsonObject:
    return {
        "id": agent.id,
        "docker_image": None,
        "name": agent.name,
        "description": agent.description,
        "acp_type": agent.acp_type.value,
        "status": agent.status.value,
        "status_reason": None,
        "acp_url": agent.acp_url,
        "created_at": _stamp(agent.created_at),
        "updated_at": _stamp(agent.updated_at),
        "registration_metadata": agent.registration_metadata,
        "registered_at": _stamp(agent.registered_at),
        "agent_input_type": agent.agent_input_type,
        "production_deployment_id": None,
    }


def _task(task: Task) -> JsonObject:
    created_at = _stamp(task.created_at)
    return {
        "id": task.id,
        "name": task.name,
        "status": task.status,
        "status_reason": None,
        "created_at": created_at,
        "updated_at": created_at,
        "cleaned_at": None,
        "params": task.params,
        "task_metadata": task.task_metadata,
    }


def _text_content(assignment: Assignment) -> JsonObject:
    return {
        "type": "text",
        "author": assignment.input_author,
        "style": "static",
        "format": "plain",
        "content": assignment.input_content,
        "attachments": None,
    }


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
