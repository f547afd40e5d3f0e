"""A schedule's definition and the agent it starts tasks for."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.policies import Policies

JsonObject = dict[str, Any]


class AcpType(StrEnum):
    """How an agent takes its input: an answer in the same request, or an event."""

    SYNC = "sync"
    ASYNC = "async"
    AGENTIC = "agentic"

    @property
    def input_method(self) -> str:
        """The JSON-RPC method that delivers an input to such an agent."""
        return "message/send" if self is AcpType.SYNC else "event/send"


class AgentStatus(StrEnum):
    """What the platform thinks of an agent."""

    READY = "Ready"
    FAILED = "Failed"
    UNKNOWN = "Unknown"
    DELETED = "Deleted"
    UNHEALTHY = "Unhealthy"
    BUILD_ONLY = "BuildOnly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Someone who can be given tasks, at `acp_url`."""

    id: str
    name: str
    description: str
    acp_type: AcpType
    acp_url: str
    status: AgentStatus
    api_key: str
    registration_metadata: JsonObject | None
    agent_input_type: str | None
    created_at: datetime
    updated_at: datetime
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The standing instruction: cadence + task + input. One row; `version` counts its edits."""

    id: str
    agent_id: str
    name: str
    description: str | None
    cadence: Cadence
    policies: Policies = field(default_factory=Policies)
    paused: bool
    task_params: JsonObject | None
    task_metadata: JsonObject | None
    initial_input: JsonObject
    creator_principal: JsonObject
    version: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a fire tells its agent: of the schedule's version under which it was claimed first."""

    name: str
    task_params: JsonObject | None
    task_metadata: JsonObject | None
    initial_input: JsonObject

    @classmethod
    def of(cls, schedule: Schedule) -> "Content":
        """That of the definition as it stands."""
        return cls(
            name=schedule.name,
            task_params=schedule.task_params,
            task_metadata=schedule.task_metadata,
            initial_input=schedule.initial_input,
        )
