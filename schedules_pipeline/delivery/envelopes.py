"""What is written to an agent's ACP server: JSON-RPC 2.0 requests, key for key as Agentex has them.

Pure functions. Nullable keys that we have no value for are sent as null: stock agents parse these
objects with required keys, and what is absent and what is null differ there.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from schedules_pipeline.domain.fire import event_id
from schedules_pipeline.domain.schedule import AcpType, Agent, JsonObject
from schedules_pipeline.services.platform_port import Assignment, Errand, Stop, Task

Told = Assignment | Errand
"""What an agent can be told of: a fire, or what a person has asked for by hand."""


def task_create(about: Told) -> JsonObject:
    """Tell an agent that a task of its own exists."""
    return _request("task/create", "TASK_CREATE", about, {"params": about.task.params})


def event_send(about: Told) -> JsonObject:
    """Give an asynchronous agent its input. A fire's event id is a function of its key."""
    event = {
        "id": input_key(about) if isinstance(about, Errand) else event_id(about.idempotency_key),
        "sequence_id": about.event_sequence,
        "task_id": about.task.id,
        "agent_id": about.agent.id,
        # Of a fire the task's, not the present moment: a repeated event must not differ.
        "created_at": _stamp(
            about.created_at if isinstance(about, Errand) else about.task.created_at
        ),
        "content": _content(about),
    }
    return _request("event/send", "EVENT_SEND", about, {"event": event, "request": None})


def message_send(about: Told) -> JsonObject:
    """Give a synchronous agent its input; it answers in the same exchange, line by line."""
    content = _content(about)
    return _request("message/send", "MESSAGE_SEND", about, {"content": content, "stream": True})


def task_cancel(about: Errand | Stop) -> JsonObject:
    """Tell an agent to give a task up."""
    return _request("task/cancel", "TASK_CANCEL", about, {})


def task_interrupt(about: Errand | Stop) -> JsonObject:
    """Tell an agent to stop in its turn."""
    return _request("task/interrupt", "TASK_INTERRUPT", about, {})


def task_stop(stop: Stop) -> JsonObject:
    """Tell an agent to stop: a synchronous one is interrupted in its turn."""
    return task_interrupt(stop) if stop.agent.acp_type is AcpType.SYNC else task_cancel(stop)


def encode(envelope: JsonObject) -> bytes:
    """The bytes of it."""
    try:
        return orjson.dumps(envelope)
    except TypeError:  # A number longer than 64 bits, half a surrogate pair, nested too deeply.
        return json.dumps(envelope).encode()


def input_key(about: Told) -> str:
    """By which an agent can tell that it has an input already."""
    return about.event_id if isinstance(about, Errand) else about.idempotency_key


def _request(
    method: str, enum_name: str, about: Told | Stop, params: Mapping[str, object]
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


def _content(about: Told) -> JsonObject | None:
    if isinstance(about, Errand):
        return about.content
    return {
        "type": "text",
        "author": about.input_author,
        "style": "static",
        "format": "plain",
        "content": about.input_content,
        "attachments": None,
    }


@lru_cache(maxsize=4_096)
def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
