"""What can be asked of an agent by hand, and by whom."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid4, uuid5

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.conversation_port import StoredEvent, StoredMessage
from schedules_pipeline.services.stored import StoredTask


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichAgent:
    """By its id or by its name."""

    id: str | None = None
    name: str | None = None

    @property
    def called(self) -> str:
        """As the request calls it."""
        return self.id or self.name or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichTask:
    """By its id or by its name; by neither, if one can be made."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTask:
    """Get-or-create by name; without one it is a new one."""

    method = "task/create"
    name: str | None = None
    params: JsonObject | None = None
    task_metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendEvent:
    """An input for a task that there is."""

    method = "event/send"
    task: WhichTask
    content: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendMessage:
    """An input that is answered at once; its task is made if there is none of that name."""

    method = "message/send"
    task: WhichTask
    content: JsonObject
    task_params: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask:
    """The agent is to give it up."""

    method = "task/cancel"
    task: WhichTask


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptTask:
    """The agent is to stop in its turn."""

    method = "task/interrupt"
    task: WhichTask


Call = CreateTask | SendEvent | SendMessage | CancelTask | InterruptTask
Result = StoredTask | StoredEvent | list[StoredMessage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What else is known of the request.

    `key`: whoever repeats the request under it means the same task, event and message. `headers`:
    those that the agent is to see. `principal`: who asks, as whoever authenticated them says it.
    """

    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    principal: JsonObject = field(default_factory=dict)

    def new_id(self, what: str) -> str:
        """An id: the same one for a repeated request."""
        return str(uuid4() if self.key is None else uuid5(NAMESPACE_URL, f"{what}:{self.key}"))
