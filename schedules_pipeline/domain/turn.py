"""What an agent says in one turn: its stream of updates, put together to messages. Pure.

A message comes whole (`full`) or piece by piece (`start`, `delta` … `done`, then perhaps once more
as `full`). An update that is none of these, or whose content is no content, is passed over.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from schedules_pipeline.domain.clean import clean
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import BadReply

MOST_MESSAGES = 100
MOST_CHARACTERS = 1_048_576
"""Of all messages of a turn together, as JSON."""
LARGEST_HEAD = 2_000
"""Each piece repeats how its message began, if that is not longer."""

EMPTY: JsonObject = {"type": "text", "author": "agent", "content": ""}
CONTENT_TYPES = ("text", "data", "tool_request", "tool_response", "reasoning")
_PIECES = {
    "text": ("text", "text_delta"),
    "data": ("data", "data_delta"),
    "tool_request": ("tool_request", "arguments_delta"),
    "tool_response": ("tool_response", "content_delta"),
    "reasoning_summary": ("reasoning", "summary_delta"),
    "reasoning_content": ("reasoning", "content_delta"),
}
"""By a delta's type: the content that grows from it, and where its piece is."""


@dataclass(slots=True)
class Said:
    """One message of the turn. `head`: what its pieces show of it."""

    id: str
    content: JsonObject
    head: JsonObject
    created_at: datetime
    done: bool = False
    kind: str = "text"
    pieces: list[str] = field(default_factory=list)
    named: JsonObject = field(default_factory=dict)

    def whole(self) -> JsonObject:
        """Its content, with all pieces that came."""
        return _grown(self) if self.pieces else self.content


class Turn:
    """One turn in a task. Errors of `take`: BadReply when the agent says too much."""

    def __init__(
        self, task_id: str, *, new_id: Callable[[], str], now: Callable[[], datetime]
    ) -> None:
        self._task_id = task_id
        self._new_id = new_id
        self._now = now
        self._said: list[Said] = []
        self._open: dict[object, Said] = {}
        self._characters = 0

    def take(self, update: JsonObject) -> list[JsonObject]:
        """The update as callers get it, with its message; none, if it says nothing.

        A piece of a message that was not begun is preceded by its `start`.
        """
        index = update.get("index")
        key = index if isinstance(index, int | str) else None
        match update.get("type"):
            case "start":
                return self._start(key, update)
            case "delta":
                return self._delta(key, update)
            case "full":
                return self._full(key, update)
            case "done" if key in self._open:
                said = self._open[key]
                said.done = True
                return [self._update("done", key, said)]
        return []

    def messages(self) -> list[Said]:
        """What was said so far, in order."""
        return self._said

    def _start(self, key: object, update: JsonObject) -> list[JsonObject]:
        content = self._content(update.get("content"))
        return [] if content is None else [self._begin(key, content)]

    def _begin(self, key: object, content: JsonObject) -> JsonObject:
        said = self._open[key] = self._new(content)
        return self._update("start", key, said, content=content)

    def _delta(self, key: object, update: JsonObject) -> list[JsonObject]:
        delta = update.get("delta")
        kind, piece = _piece(delta)
        if not isinstance(delta, dict) or not isinstance(piece, str):
            return []
        self._count(len(piece))
        named = {name: delta.get(name) for name in ("tool_call_id", "name")}
        begun = [] if key in self._open else [self._begin(key, _empty(kind, named))]
        said = self._open[key]
        if not said.pieces:
            said.kind, said.named = kind, named
        said.pieces.append(piece)
        return [*begun, self._update("delta", key, said, delta=delta)]

    def _full(self, key: object, update: JsonObject) -> list[JsonObject]:
        content = self._content(update.get("content"))
        if content is None:
            return []
        said = self._open.pop(key, None) or self._new(content)
        said.content, said.pieces, said.done = content, [], True
        return [self._update("full", key, said, content=content)]

    def _content(self, content: object) -> JsonObject | None:
        if not isinstance(content, dict) or content.get("type", "text") not in CONTENT_TYPES:
            return None
        self._count(len(json.dumps(content)))
        author = content.get("author")
        return {"type": "text"} | content | {"author": author if author == "user" else "agent"}

    def _new(self, content: JsonObject) -> Said:
        if len(self._said) == MOST_MESSAGES:
            raise BadReply(f"The agent's answer is more than {MOST_MESSAGES} messages.")
        head = content if len(json.dumps(content)) <= LARGEST_HEAD else EMPTY
        said = Said(self._new_id(), content, head, self._now())
        self._said.append(said)
        return said

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MOST_CHARACTERS:
            raise BadReply(f"The agent's answer is larger than {MOST_CHARACTERS:,} characters.")

    def _update(self, kind: str, key: object, said: Said, **more: JsonObject) -> JsonObject:
        at = said.created_at.isoformat().replace("+00:00", "Z")
        message = {
            "id": said.id,
            "task_id": self._task_id,
            "content": said.head if kind == "delta" else said.whole(),
            "streaming_status": "DONE" if said.done else "IN_PROGRESS",
            "created_at": at,
            "updated_at": at,
        }
        return {"type": kind, "index": key, **more, "parent_task_message": message}


def _piece(delta: object) -> tuple[str, object]:
    """A delta's kind and its piece, which is no text when it says nothing."""
    kind = delta.get("type") if isinstance(delta, dict) else None
    if not isinstance(delta, dict) or not isinstance(kind, str) or kind not in _PIECES:
        return "", None
    return kind, delta.get(_PIECES[kind][1])


def _empty(kind: str, named: JsonObject) -> JsonObject:
    """How a message begins of which only pieces come."""
    content: JsonObject = {"type": _PIECES[kind][0], "author": "agent"}
    match content["type"]:
        case "text":
            return EMPTY
        case "data":
            return content | {"data": {}}
        case "tool_request":
            return content | named | {"arguments": {}}
        case "tool_response":
            return content | named | {"content": ""}
    return content | {"summary": []}


def _grown(said: Said) -> JsonObject:
    """What pieces have made of a message; they add to what its start said, if that is alike."""
    kind, joined = _PIECES[said.kind][0], "".join(said.pieces)
    begun = said.content if said.content.get("type") == kind else {}
    content: JsonObject = {"type": kind, "author": "agent"} | begun
    named = {name: value for name, value in said.named.items() if value is not None}
    match said.kind:
        case "text":
            return content | {"content": str(content.get("content") or "") + joined}
        case "data":
            return content | {"data": _object(joined)}
        case "tool_request":
            return content | named | {"arguments": _object(joined)}
        case "tool_response":
            return content | named | {"content": joined}
        case "reasoning_summary":
            return content | {"summary": [joined]}
    return {"summary": []} | content | {"content": [joined]}


def _object(text: str) -> object:
    """JSON that came in pieces; what is not an object stands in one as text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return clean(found) if isinstance(found, dict) else {"text": text}
