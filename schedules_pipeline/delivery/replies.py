"""What an agent answers, checked and cut to size. Pure.

Agents are not trusted: whatever they say ends in rows, logs and pages. So every piece of it that
is kept is bounded, and stripped of what could break a terminal, a log line or Postgres.
"""

import json
import unicodedata

from schedules_pipeline.domain.clean import storable
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import AgentError, BadReply

EXCERPT_CHARACTERS = 2_000
QUOTE_CHARACTERS = 500
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def quotable(text: str, limit: int = QUOTE_CHARACTERS) -> str:
    """An agent's words, fit for one line of a log: no control characters, at most `limit` long."""
    # Twice the limit leaves room for what is dropped, and bounds the work on hostile text.
    visible = (
        " " if unicodedata.category(character) in _INVISIBLE else character
        for character in text[: 2 * limit]
    )
    line = " ".join("".join(visible).split())
    if len(line) <= limit and len(text) <= 2 * limit:
        return line
    return line[: limit - 1] + "…"


def quote_body(body: bytes, limit: int = 200) -> str:
    """A piece of a body that nobody could make sense of, for a person to recognise it by."""
    return repr(quotable(body[: 4 * limit].decode("utf-8", "backslashreplace"), limit))


def result_of(body: bytes, expected_id: str) -> object:
    """The `result` of a JSON-RPC reply; null is a fine one.

    Errors: AgentError for a JSON-RPC error, BadReply for anything that is no reply to this request.
    """
    reply = _json_object(body)
    reply_id, error = reply.get("id"), reply.get("error")
    # An agent that could not read the request does not know its id: JSON-RPC says null then.
    if error is not None and reply_id in (expected_id, None):
        raise AgentError(f"The agent answered with an error: {_describe(error)}")
    if reply_id != expected_id:
        raise BadReply(
            f"The agent's answer is to another request: id {quotable(repr(reply_id), 100)}, "
            f"expected {expected_id!r}."
        )
    return reply.get("result")


class Excerpt:
    """Collects the beginning of a synchronous agent's answer from its stream of updates.

    An answer is made of messages: each comes whole (`full`) or piece by piece (`start`, `delta` …
    `done`, then perhaps once more as `full`). What lies beyond the first 2,000 characters, or
    beyond the first 100 messages, is dropped as it comes.
    """

    _MESSAGES = 100

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._streamed: dict[object, int] = {}
        """By the update's index: where in `_texts` the message lies that comes in pieces."""

    def add(self, update: object) -> None:
        """Take one update in. What is not text (data, tools, reasoning) is passed over."""
        if not isinstance(update, dict):
            return
        index, content = _hashable(update.get("index")), _text_of(update.get("content"))
        match update.get("type"):
            case "start":
                self._streamed.pop(index, None)
                self._extend(index, content)
            case "delta":
                self._extend(index, _delta_of(update.get("delta")))
            case "full" if index in self._streamed:
                self._texts[self._streamed.pop(index)] = content[:EXCERPT_CHARACTERS]
            case "full" if len(self._texts) < self._MESSAGES:
                self._texts.append(content[:EXCERPT_CHARACTERS])

    def text(self) -> str | None:
        """The first 2,000 characters of the messages, one below the other; None without any."""
        joined = "\n".join(text for text in self._texts if text)
        return storable(joined)[:EXCERPT_CHARACTERS] or None

    def _extend(self, index: object, piece: str) -> None:
        if index not in self._streamed:
            if len(self._texts) == self._MESSAGES:
                return
            self._streamed[index] = len(self._texts)
            self._texts.append("")
        position = self._streamed[index]
        if len(self._texts[position]) < EXCERPT_CHARACTERS:
            self._texts[position] = (self._texts[position] + piece)[:EXCERPT_CHARACTERS]


def _json_object(body: bytes) -> JsonObject:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):  # RecursionError: a million opening brackets
        raise BadReply(f"The agent's answer is not JSON: {quote_body(body)}") from None
    if not isinstance(reply, dict):
        raise BadReply(f"The agent's answer is not a JSON object: {quote_body(body)}")
    return reply


def _describe(error: object) -> str:
    if not isinstance(error, dict):
        return quotable(str(error))
    code, message = error.get("code"), error.get("message")
    return f"{quotable(str(code), 20)} {quotable(str(message))}"


def _text_of(content: object) -> str:
    if not isinstance(content, dict) or content.get("type") != "text":
        return ""
    text = content.get("content")
    return text if isinstance(text, str) else ""


def _delta_of(delta: object) -> str:
    piece = delta.get("text_delta") if isinstance(delta, dict) else None
    return piece if isinstance(piece, str) else ""


def _hashable(index: object) -> object:
    return index if isinstance(index, int | str) else None
