"""What the use cases need of stored tasks' events and messages; `store/` provides it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from schedules_pipeline.domain.schedule import JsonObject


class Direction(StrEnum):
    """Which way a list is sorted."""

    ASC = "asc"
    DESC = "desc"


class TaskOrder(StrEnum):
    """What tasks may be sorted by."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    NAME = "name"
    STATUS = "status"
    ID = "id"


class AgentOrder(StrEnum):
    """What agents may be sorted by."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    NAME = "name"
    STATUS = "status"
    ID = "id"


class MessageOrder(StrEnum):
    """What messages may be sorted by."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    ID = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One page of a list that is counted in pages."""

    limit: int
    page_number: int = 1
    direction: Direction = Direction.DESC

    @property
    def offset(self) -> int:
        """How many rows come before it."""
        return (self.page_number - 1) * self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks; None asks for nothing. `task_metadata` must be contained in theirs.
    `only`: none but these, by id.
    """

    agent_id: str | None = None
    agent_name: str | None = None
    status: str | None = None
    task_metadata: JsonObject | None = None
    only: Collection[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFilter:
    """Which agents; None asks for nothing. `card` must be contained in their card's metadata.
    `only`: none but these, by id.
    """

    task_id: str | None = None
    card: JsonObject | None = None
    only: Collection[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An input that was sent as an event."""

    id: str
    sequence_id: int
    task_id: str
    agent_id: str
    content: JsonObject | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FireEvent:
    """A fire's input as its task's event; `sequence_id` counts the fire's drives."""

    idempotency_key: str
    sequence_id: int
    task_id: str
    agent_id: str
    content: JsonObject
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What is said in a task. `created_at` None: now."""

    id: str
    task_id: str
    content: JsonObject
    done: bool = True
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """What was said in a task. `position` sorts what was said in the same moment."""

    id: str
    position: int
    task_id: str
    content: JsonObject
    streaming_status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Those that contain one of `include` (if there is any) and none of `exclude`.

    Each is an object that may have `content` (part of the message's) and `streaming_status`.
    """

    include: Sequence[JsonObject] = field(default=())
    exclude: Sequence[JsonObject] = field(default=())


class EventRepository(Protocol):
    """Events of tasks. Those of fires have no row: the ledger is what is known of them."""

    def insert(
        self, event_id: str, task_id: str, agent_id: str, content: JsonObject | None
    ) -> StoredEvent:
        """The caller holds the task. One that is there already is returned as it is."""

    def get(self, event_id: str) -> StoredEvent | None: ...
    def after(
        self, task_id: str, agent_id: str, sequence_id: int, *, limit: int
    ) -> Sequence[StoredEvent]:
        """In order, those with a higher number."""

    def of_fire(self, task_id: str) -> FireEvent | None:
        """From the moment on at which the input may go out."""


class MessageRepository(Protocol):
    """What was said in tasks: stored messages, and in those of fires what the ledger knows."""

    def insert(self, messages: Sequence[NewMessage]) -> Sequence[StoredMessage]:
        """In their order. One that is there already stays as it is, and is not returned."""

    def update(
        self, task_id: str, message_id: str, content: JsonObject, done: bool | None
    ) -> StoredMessage | None:
        """None when there is no such message in the task, or it is the ledger's."""

    def get(self, message_id: str) -> StoredMessage | None: ...
    def list(
        self, task_id: str, wanted: MessageFilter, order: MessageOrder, span: Span
    ) -> Sequence[StoredMessage]: ...
    def beyond(
        self,
        task_id: str,
        wanted: MessageFilter,
        place: tuple[datetime, int] | None,
        direction: Direction,
        *,
        limit: int,
    ) -> Sequence[StoredMessage]:
        """`desc`: older ones, newest first; `asc`: newer ones, oldest first."""
