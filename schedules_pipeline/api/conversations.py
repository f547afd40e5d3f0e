"""Routes about what was sent and said in tasks: events and messages."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from schedules_pipeline.api.contents import MOST_PARTS, AnyContent
from schedules_pipeline.api.dependencies import Use
from schedules_pipeline.api.errors import NOT_FOUND
from schedules_pipeline.api.fields import STORABLE, Handle, Instant
from schedules_pipeline.api.paging import JsonText, PageQuery, json_value
from schedules_pipeline.api.routing import Route
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services.conversation_port import (
    Direction,
    MessageFilter,
    MessageOrder,
    StoredEvent,
    StoredMessage,
)

events = APIRouter(prefix="/events", tags=["tasks"], responses=NOT_FOUND, route_class=Route)
messages = APIRouter(prefix="/messages", tags=["tasks"], responses=NOT_FOUND, route_class=Route)

Limit = Annotated[int, Field(ge=1, le=1_000)]
Id = Annotated[str, Field(min_length=1, max_length=1_000), STORABLE]
StreamingStatus = Literal["IN_PROGRESS", "DONE"]


class EventShown(BaseModel):
    """An input that was sent to an agent as an event."""

    id: str
    sequence_id: int = Field(description="Rises within a task; of fires it counts the drives.")
    task_id: str
    agent_id: str
    content: dict[str, Any] | None
    created_at: datetime

    @classmethod
    def of(cls, event: StoredEvent) -> "EventShown":
        """As it is shown."""
        return cls(**{name: getattr(event, name) for name in cls.model_fields})


class MessageShown(BaseModel):
    """What was said in a task."""

    id: str
    task_id: str
    content: dict[str, Any]
    streaming_status: StreamingStatus
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, message: StoredMessage) -> "MessageShown":
        """As it is shown."""
        return cls(**{name: getattr(message, name) for name in cls.model_fields})


class MessagePage(BaseModel):
    """A page, and where the next one begins."""

    data: list[MessageShown]
    has_more: bool
    next_cursor: str | None


class EventsQuery(BaseModel):
    """Whose events, from where on."""

    task_id: Handle
    agent_id: Handle
    last_processed_event_id: Handle | None = Field(
        default=None, description="Only what came after it."
    )
    limit: Limit = 100


class WantedMessages(BaseModel):
    """Whose messages, and which."""

    task_id: Handle
    filters: JsonText | None = Field(
        default=None,
        description="A JSON object or an array of them, each with `content` (a part of the "
        "message's), `streaming_status`, and `exclude`. Messages are shown that fit one of those "
        "without `exclude`, if there is one, and none of those with it.",
        examples=['[{"content": {"author": "agent"}}]'],
    )

    def to_filter(self) -> MessageFilter:
        """As the use case wants it. Errors: InvalidInput."""
        return _filter(self.filters)


class MessagesQuery(WantedMessages, PageQuery):
    """Which page of them."""

    order_by: MessageOrder = MessageOrder.CREATED_AT


class MessagesByCursor(WantedMessages):
    """The same, for whoever scrolls while more is being said."""

    limit: Limit = 50
    cursor: Annotated[str, Field(max_length=1_000)] | None = None
    direction: Literal["older", "newer"] = "older"


class NewMessage(BaseModel):
    """What is said in a task."""

    task_id: Id
    content: AnyContent
    streaming_status: StreamingStatus | None = None
    created_at: Instant | None = Field(default=None, description="Absent: now.")


class NewMessages(BaseModel):
    """Several at once, in their order."""

    task_id: Id
    contents: Annotated[list[AnyContent], Field(min_length=1, max_length=MOST_PARTS)]
    created_at: Instant | None = Field(
        default=None, description="Of the first; each is a millisecond later than the one before."
    )


class MessageUpdate(BaseModel):
    """What it says now."""

    task_id: Id
    content: AnyContent
    streaming_status: StreamingStatus | None = None


class MessageUpdates(BaseModel):
    """Several at once, by message id: all or none."""

    task_id: Id
    updates: Annotated[dict[Id, AnyContent], Field(min_length=1, max_length=MOST_PARTS)]


@events.get("")
def list_events(query: Annotated[EventsQuery, Query()], use: Use) -> list[EventShown]:
    """Events of a task in order. That of a fire is shown once it may have gone out."""
    found = use.transcripts.events(
        query.task_id, query.agent_id, after=query.last_processed_event_id, limit=query.limit
    )
    return [EventShown.of(event) for event in found]


@events.get("/{event_id}")
def get_event(event_id: Handle, use: Use) -> EventShown:
    """One event that was sent by hand; that of a fire is found with its task."""
    return EventShown.of(use.transcripts.event(event_id))


@messages.get("")
def list_messages(query: Annotated[MessagesQuery, Query()], use: Use) -> list[MessageShown]:
    """Newest first, unless another order is asked for.

    In a task of a fire whose agent answers at once: the fire's input and the beginning of the
    answer, too.
    """
    found = use.transcripts.messages(query.task_id, query.to_filter(), query.order_by, query.span())
    return [MessageShown.of(message) for message in found]


@messages.get("/paginated")
def list_messages_by_cursor(query: Annotated[MessagesByCursor, Query()], use: Use) -> MessagePage:
    """`older`: newest first; `newer`: oldest first, from the cursor on."""
    direction = Direction.DESC if query.direction == "older" else Direction.ASC
    found, cursor = use.transcripts.messages_beyond(
        query.task_id, query.to_filter(), query.cursor, direction, limit=query.limit
    )
    return MessagePage(
        data=[MessageShown.of(message) for message in found],
        has_more=cursor is not None,
        next_cursor=cursor,
    )


@messages.get("/{message_id}")
def get_message(message_id: Handle, use: Use) -> MessageShown:
    """One message."""
    return MessageShown.of(use.transcripts.message(message_id))


@messages.post("")
def create_message(body: NewMessage, use: Use) -> MessageShown:
    """Say something in a task; no agent is told of it."""
    (said,) = use.transcripts.say(
        body.task_id,
        [_json(body.content)],
        done=body.streaming_status != "IN_PROGRESS",
        created_at=body.created_at,
    )
    return MessageShown.of(said)


@messages.post("/batch")
def create_messages(body: NewMessages, use: Use) -> list[MessageShown]:
    """Say several things at once."""
    said = use.transcripts.say(
        body.task_id, [_json(each) for each in body.contents], created_at=body.created_at
    )
    return [MessageShown.of(message) for message in said]


@messages.put("/batch")
def update_messages(body: MessageUpdates, use: Use) -> list[MessageShown]:
    """Other contents for several messages."""
    contents = {message_id: _json(content) for message_id, content in body.updates.items()}
    return [MessageShown.of(each) for each in use.transcripts.rewrite(body.task_id, contents)]


@messages.put("/{message_id}")
def update_message(message_id: Handle, body: MessageUpdate, use: Use) -> MessageShown:
    """Another content. What a fire said stays as it is."""
    status = body.streaming_status
    (said,) = use.transcripts.rewrite(
        body.task_id,
        {message_id: _json(body.content)},
        done=None if status is None else status == "DONE",
    )
    return MessageShown.of(said)


def _json(content: BaseModel) -> JsonObject:
    return content.model_dump(mode="json")


def _filter(text: str | None) -> MessageFilter:
    if text is None:
        return MessageFilter()
    given = json_value("filters", text)
    wanted = given if isinstance(given, list) else [given]
    if not all(_is_filter(each) for each in wanted) or len(wanted) > MOST_PARTS:
        raise InvalidInput(
            "filters",
            f"must be at most {MOST_PARTS} JSON objects with `content` (an object), "
            "`streaming_status` (IN_PROGRESS or DONE) and `exclude` (true or false)",
        )
    parts = [(each.get("exclude") or False, _told(each)) for each in wanted]
    return MessageFilter(
        include=[part for excluded, part in parts if not excluded],
        exclude=[part for excluded, part in parts if excluded],
    )


def _is_filter(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("content"), dict | None)
        and value.get("streaming_status") in ("IN_PROGRESS", "DONE", None)
        and value.get("exclude") in (True, False, None)
    )


def _told(wanted: JsonObject) -> JsonObject:
    """Only what is asked for: null asks for nothing."""
    content = wanted.get("content") or {}
    asked = {name: value for name, value in content.items() if value is not None}
    return {"content": asked, "streaming_status": wanted.get("streaming_status")}
