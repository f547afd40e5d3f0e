"""Messages: what was said in tasks. What a fire said is read off the ledger, not stored twice."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.conversation_port import (
    Direction,
    MessageFilter,
    MessageOrder,
    NewMessage,
    Span,
    StoredMessage,
)
from schedules_pipeline.store.events import INPUT_OF_FIRE

COLUMNS = "id, position, task_id, content, streaming_status, created_at, updated_at"

# An agent that answers at once is told its input as a message, and of its answer the ledger keeps
# the beginning. The others' inputs are events.
SAID = f"""
    with said as (
        select {COLUMNS} from messages where task_id = :task_id
        union all
        select f.idempotency_key || '#input', -2, t.id, said.content, 'DONE', f.task_created_at,
               f.task_created_at
        {INPUT_OF_FIRE} and a.acp_type = 'sync'
        union all
        select f.idempotency_key || '#reply', -1, t.id,
               said.content || jsonb_build_object('author', 'agent', 'content', f.reply_excerpt),
               'DONE', f.delivered_at, f.delivered_at
        {INPUT_OF_FIRE} and a.acp_type = 'sync' and f.reply_excerpt is not null
          and f.delivered_at is not null
    )
    select {COLUMNS} from said
"""  # noqa: S608 - constants of ours

_FITS = """
    exists (select from jsonb_array_elements(cast(:{which} as jsonb)) as w
            where said.content @> coalesce(w -> 'content', '{{}}')
              and coalesce(w ->> 'streaming_status', said.streaming_status) = streaming_status)
"""
WANTED = f"""
    (cast(:include as jsonb) = '[]' or {_FITS.format(which="include")})
    and not {_FITS.format(which="exclude")}
"""


class PostgresMessages:
    """See `services.conversation_port.MessageRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, messages: Sequence[NewMessage]) -> Sequence[StoredMessage]:
        """In their order; one statement for all."""
        rows = self._connection.execute(
            text(f"""
                insert into messages (id, task_id, content, streaming_status, created_at)
                select x.id, x.task_id, x.content, x.status,
                       coalesce(x.created_at, statement_timestamp())
                from unnest(cast(:ids as text[]), cast(:tasks as text[]),
                            cast(:contents as jsonb[]), cast(:statuses as text[]),
                            cast(:times as timestamptz[]))
                    with ordinality as x (id, task_id, content, status, created_at, place)
                order by x.place
                on conflict (id) do nothing
                returning {COLUMNS}
            """),  # noqa: S608 - a constant of ours
            {
                "ids": [m.id for m in messages],
                "tasks": [m.task_id for m in messages],
                "contents": [json.dumps(m.content) for m in messages],
                "statuses": ["DONE" if m.done else "IN_PROGRESS" for m in messages],
                "times": [m.created_at for m in messages],
            },
        )
        return sorted(_stored(rows), key=lambda message: message.position)

    def update(
        self, task_id: str, message_id: str, content: JsonObject, done: bool | None
    ) -> StoredMessage | None:
        """Its content anew; its status stays unless `done` says something of it."""
        rows = self._connection.execute(
            text(f"""
                update messages
                set content = cast(:content as jsonb), updated_at = statement_timestamp(),
                    streaming_status = coalesce(:status, streaming_status)
                where id = :id and task_id = :task_id
                returning {COLUMNS}
            """),  # noqa: S608 - a constant of ours
            {
                "id": message_id,
                "task_id": task_id,
                "content": json.dumps(content),
                "status": None if done is None else "DONE" if done else "IN_PROGRESS",
            },
        )
        return next(iter(_stored(rows)), None)

    def get(self, message_id: str) -> StoredMessage | None:
        """One message, the ledger's too."""
        statement = f"select {COLUMNS} from messages where id = :id"  # noqa: S608
        rows = self._connection.execute(text(statement), {"id": message_id})
        return next(iter(_stored(rows)), None) or self._of_fire(message_id)

    def _of_fire(self, message_id: str) -> StoredMessage | None:
        # `<fire's id>[#r<number>]#input`: see SAID.
        fire_id, mark, _ = message_id.partition("#")
        if not mark:
            return None
        task = text("select task_id from fires where id = :id")
        task_id = self._connection.execute(task, {"id": fire_id}).scalar()
        rows = self._connection.execute(
            text(f"{SAID} where id = :id"), {"task_id": task_id, "id": message_id}
        )
        return next(iter(_stored(rows)), None)

    def list(
        self, task_id: str, wanted: MessageFilter, order: MessageOrder, span: Span
    ) -> Sequence[StoredMessage]:
        """One page of them."""
        way = span.direction.value
        return self._said(
            f"{WANTED} order by {order.value} {way}, position {way} limit :limit offset :offset",
            wanted,
            task_id=task_id,
            limit=span.limit,
            offset=span.offset,
        )

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
        way, is_beyond = direction.value, "<" if direction is Direction.DESC else ">"
        behind = f"(created_at, position) {is_beyond} (:at, :position)" if place else "true"
        at, position = place or (None, None)
        return self._said(
            f"{WANTED} and {behind} order by created_at {way}, position {way} limit :limit",
            wanted,
            task_id=task_id,
            limit=limit,
            **({"at": at, "position": position} if place else {}),
        )

    def _said(self, rest: str, wanted: MessageFilter, **parameters: Any) -> Sequence[StoredMessage]:
        rows = self._connection.execute(
            text(f"{SAID} where {rest}"),
            {
                **parameters,
                "include": json.dumps(list(wanted.include)),
                "exclude": json.dumps(list(wanted.exclude)),
            },
        )
        return _stored(rows)


def _stored(rows: Any) -> list[StoredMessage]:
    return [StoredMessage(**row._mapping) for row in rows]
