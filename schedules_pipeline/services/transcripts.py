"""What was sent and said in tasks: read by anybody, written by agents."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import uuid4

from schedules_pipeline.domain.fire import event_id
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import NotFound
from schedules_pipeline.services.conversation_port import (
    Direction,
    MessageFilter,
    MessageOrder,
    NewMessage,
    Span,
    StoredEvent,
    StoredMessage,
)
from schedules_pipeline.services.cursors import instant, number, read_cursor, write_cursor
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.tasks import require_task

T = TypeVar("T")

_OF_FIRE = 2
"""So far below zero do positions begin: what the ledger knows of stands before what is stored."""
_APART = timedelta(milliseconds=1)


class Transcripts:
    """Events and messages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def event(self, event_id: str) -> StoredEvent:
        """One that was sent by hand. Errors: NotFound."""
        return self._store.run(lambda tx: _found(tx.events.get(event_id), event_id))

    def events(
        self, task_id: str, agent_id: str, *, after: str | None, limit: int
    ) -> Sequence[StoredEvent]:
        """A task's events in order, a fire's first. `after`: the id of the last one that is known.

        Another agent than the task's, and one that there is not, have none there. Errors: NotFound
        (the task, or that event in it).
        """
        return self._store.run(lambda tx: _events(tx, task_id, agent_id, after, limit))

    def message(self, message_id: str) -> StoredMessage:
        """One message. Errors: NotFound."""
        return self._store.run(lambda tx: _found(tx.messages.get(message_id), message_id))

    def messages(
        self, task_id: str, wanted: MessageFilter, order: MessageOrder, span: Span
    ) -> Sequence[StoredMessage]:
        """One page of a task's messages. Errors: NotFound (the task)."""

        def listed(tx: Transaction) -> Sequence[StoredMessage]:
            require_task(tx, task_id)
            return tx.messages.list(task_id, wanted, order, span)

        return self._store.run(listed)

    def messages_beyond(
        self,
        task_id: str,
        wanted: MessageFilter,
        cursor: str | None,
        direction: Direction,
        *,
        limit: int,
    ) -> tuple[Sequence[StoredMessage], str | None]:
        """A page by cursor, and where the next one begins. Errors: NotFound, InvalidInput."""
        place = None if cursor is None else _place(cursor)

        def page(tx: Transaction) -> Sequence[StoredMessage]:
            require_task(tx, task_id)
            return tx.messages.beyond(task_id, wanted, place, direction, limit=limit + 1)

        found = self._store.run(page)
        shown = found[:limit]
        return shown, _cursor(shown[-1]) if len(found) > limit else None

    def say(
        self,
        task_id: str,
        contents: Sequence[JsonObject],
        *,
        done: bool = True,
        created_at: datetime | None = None,
    ) -> Sequence[StoredMessage]:
        """Add messages to a task; given a time, they are a millisecond apart. Errors: NotFound."""
        messages = [
            NewMessage(
                id=str(uuid4()),
                task_id=task_id,
                content=content,
                done=done,
                created_at=None if created_at is None else created_at + number * _APART,
            )
            for number, content in enumerate(contents)
        ]

        def say(tx: Transaction) -> Sequence[StoredMessage]:
            require_task(tx, task_id)
            return tx.messages.insert(messages)

        return self._store.run(say)

    def rewrite(
        self, task_id: str, contents: Mapping[str, JsonObject], *, done: bool | None = None
    ) -> Sequence[StoredMessage]:
        """Other contents, by message id: all or none. Errors: NotFound."""

        def rewrite(tx: Transaction) -> Sequence[StoredMessage]:
            require_task(tx, task_id)
            # In the order of ids, so that two who rewrite the same ones wait for each other.
            changed = {
                message_id: _found(
                    tx.messages.update(task_id, message_id, contents[message_id], done), message_id
                )
                for message_id in sorted(contents)
            }
            return [changed[message_id] for message_id in contents]

        return self._store.run(rewrite)


def _events(
    tx: Transaction, task_id: str, agent_id: str, after: str | None, limit: int
) -> list[StoredEvent]:
    require_task(tx, task_id)
    of_fire = _event_of_fire(tx, task_id, agent_id)
    last = 0
    if after is not None:
        known = of_fire if of_fire and of_fire.id == after else tx.events.get(after)
        last = _found(known if known and known.task_id == task_id else None, after).sequence_id
    first = [of_fire] if of_fire and of_fire.sequence_id > last else []
    return [*first, *tx.events.after(task_id, agent_id, last, limit=limit)][:limit]


def _event_of_fire(tx: Transaction, task_id: str, agent_id: str) -> StoredEvent | None:
    found = tx.events.of_fire(task_id)
    if found is None or found.agent_id != agent_id:
        return None
    return StoredEvent(
        id=event_id(found.idempotency_key),
        sequence_id=found.sequence_id,
        task_id=task_id,
        agent_id=agent_id,
        content=found.content,
        created_at=found.created_at,
    )


def _found(thing: T | None, key: str) -> T:
    if thing is None:
        raise NotFound(f"Item with id '{key}' does not exist.")
    return thing


def _place(cursor: str) -> tuple[datetime, int]:
    at, position = read_cursor(cursor, 2)
    return instant(at), number(position) - _OF_FIRE


def _cursor(message: StoredMessage) -> str:
    return write_cursor(message.created_at.isoformat(), str(message.position + _OF_FIRE))
