"""JSON-RPC 2.0 as Agentex speaks it to callers: five methods, and what they answer."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from schedules_pipeline.api.contents import AnyContent
from schedules_pipeline.api.conversations import EventShown, MessageShown
from schedules_pipeline.api.fields import STORABLE, Json
from schedules_pipeline.api.tasks import TaskShown
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.calls import (
    Call,
    CancelTask,
    CreateTask,
    InterruptTask,
    Result,
    SendEvent,
    SendMessage,
    WhichTask,
)
from schedules_pipeline.services.conversation_port import StoredEvent
from schedules_pipeline.services.stored import StoredTask

INTERNAL_ERROR = -32603
"""For whatever goes wrong once the agent's turn has come; the status is 200 then."""

Name = Annotated[str, Field(min_length=1, max_length=512), STORABLE]


class TaskNew(BaseModel):
    """A task; it is made unless there is one of that name."""

    name: Name | None = Field(
        default=None, description="Unique among all tasks; of one that is there, it is the answer."
    )
    params: Json | None = Field(
        default=None, description="Of a task that is there, these are its new ones."
    )
    task_metadata: Json | None = Field(
        default=None, description="Counts only when the task is made."
    )


class TaskNamed(BaseModel):
    """Which task: one of the two."""

    task_id: Name | None = None
    task_name: Name | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.task_id is None) == (self.task_name is None):
            raise ValueError("give either task_id or task_name")
        return self

    def which(self) -> WhichTask:
        """As the use case wants it."""
        return WhichTask(id=self.task_id, name=self.task_name)


class EventNew(TaskNamed):
    """An input for an agent that takes events."""

    content: AnyContent | None = None


class MessageNew(BaseModel):
    """An input for an agent that answers at once; without a task it makes one."""

    task_id: Name | None = None
    task_name: Name | None = None
    content: AnyContent
    stream: StrictBool = Field(
        default=False, description="Answer with updates, one per line, as the agent sends them."
    )
    task_params: Json | None = None

    @model_validator(mode="after")
    def _is_one_at_most(self) -> Self:
        if self.task_id is not None and self.task_name is not None:
            raise ValueError("give task_id or task_name, not both")
        return self


class Envelope(BaseModel):
    """What all requests have. The `id` is not echoed: answers have null there."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: StrictInt | StrictStr | None = None


class CreateTaskRequest(Envelope):
    """Make a task, or find it by its name, and tell its agent."""

    method: Literal["task/create"]
    params: TaskNew

    def call(self) -> Call:
        """As the use case wants it."""
        return CreateTask(**self.params.model_dump())


class SendEventRequest(Envelope):
    """Give an agent an input that it works on later."""

    method: Literal["event/send"]
    params: EventNew

    def call(self) -> Call:
        """As the use case wants it."""
        content = self.params.content
        return SendEvent(
            task=self.params.which(),
            content=None if content is None else content.model_dump(mode="json"),
        )


class SendMessageRequest(Envelope):
    """Give an agent an input that it answers."""

    method: Literal["message/send"]
    params: MessageNew

    def call(self) -> Call:
        """As the use case wants it."""
        return SendMessage(
            task=WhichTask(id=self.params.task_id, name=self.params.task_name),
            content=self.params.content.model_dump(mode="json"),
            task_params=self.params.task_params,
        )


class CancelTaskRequest(Envelope):
    """The agent is to give a task up."""

    method: Literal["task/cancel"]
    params: TaskNamed

    def call(self) -> Call:
        """As the use case wants it."""
        return CancelTask(task=self.params.which())


class InterruptTaskRequest(Envelope):
    """The agent is to stop in its turn."""

    method: Literal["task/interrupt"]
    params: TaskNamed

    def call(self) -> Call:
        """As the use case wants it."""
        return InterruptTask(task=self.params.which())


def _method(value: object) -> str:
    found = value.get("method") if isinstance(value, dict) else getattr(value, "method", None)
    return str(found)


RpcRequest = Annotated[
    Annotated[CreateTaskRequest, Tag("task/create")]
    | Annotated[SendEventRequest, Tag("event/send")]
    | Annotated[SendMessageRequest, Tag("message/send")]
    | Annotated[CancelTaskRequest, Tag("task/cancel")]
    | Annotated[InterruptTaskRequest, Tag("task/interrupt")],
    Discriminator(
        _method,
        custom_error_type="unknown_method",
        custom_error_message="must be task/create, event/send, message/send, task/cancel or "
        "task/interrupt",
    ),
]


class RpcError(BaseModel):
    """What went wrong at the agent, or for want of one."""

    code: int = INTERNAL_ERROR
    message: str
    data: None = None


class RpcAnswer(BaseModel):
    """One of `result` and `error`. A task, an event, or the messages that the agent answered."""

    jsonrpc: Literal["2.0"] = "2.0"
    result: TaskShown | EventShown | list[MessageShown] | None = None
    error: RpcError | None = None
    id: None = None

    @classmethod
    def of(cls, result: Result) -> "RpcAnswer":
        """As it is shown."""
        if isinstance(result, StoredTask):
            return cls(result=TaskShown.of(result))
        if isinstance(result, StoredEvent):
            return cls(result=EventShown.of(result))
        return cls(result=[MessageShown.of(message) for message in result])


def line_of(update: JsonObject | None, error: RpcError | None = None) -> dict[str, Any]:
    """One line of a streamed answer."""
    said = None if error is None else error.model_dump()
    return {"jsonrpc": "2.0", "result": update, "error": said, "id": None}
