"""A JSON body has one reading, and no depth that costs more than its bytes.

What the framework would take as it comes is refused before anything is built from it: JSON nested
without end, a key that is said twice (of two readers one takes the first and one the last),
encodings other than UTF-8.
"""

import json
import re
from collections import Counter
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers

from schedules_pipeline.api.body_limit import App, Message, Receive, Scope, Send, replay
from schedules_pipeline.api.errors import invalid

MAX_DEPTH = 64
"""Of the whole body: twice what one field of JSON may have."""
LARGE_BYTES = 65_536
"""From here on it takes milliseconds, for which nobody else is to wait."""

# A string is one token, so that brackets in it do not count.
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{\]}]', re.DOTALL)
UNREADABLE = "body: is not JSON that can be read; check its encoding (UTF-8) and its numbers"


class Unreadable(Exception):
    """No JSON with one reading; the text says why."""


class JsonGuard:
    """ASGI middleware; stands behind `BodyLimit`, which has the whole body and its size."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http" or not _is_json(Headers(scope=scope)):
            return await self._app(scope, receive, send)
        messages = [await receive()]
        while messages[-1].get("more_body", False):
            messages.append(await receive())
        try:
            await _check(messages)
        except Unreadable as error:
            return await invalid(str(error))(scope, receive, send)
        return await self._app(scope, replay(messages, receive), send)


def _is_json(headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind[-5:] == "+json")


async def _check(messages: list[Message]) -> None:
    # Who broke off in the middle has said nothing; the framework knows what to do.
    if messages[-1]["type"] == "http.disconnect":
        return
    body = b"".join(message.get("body", b"") for message in messages)
    if len(body) < LARGE_BYTES:
        read_once(body)
    else:
        await anyio.to_thread.run_sync(read_once, body)


def read_once(body: bytes) -> None:
    """Errors: Unreadable. An empty body is left to whoever asked for one."""
    if _is_deep(body):
        raise Unreadable(f"body: is nested more than {MAX_DEPTH} deep; flatten it")
    try:
        if body:
            json.loads(body.decode(), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise Unreadable(f"body: is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # not UTF-8, or a number of thousands of digits
        raise Unreadable(UNREADABLE) from None


def _is_deep(body: bytes) -> bool:
    """By its brackets: reading it to find out would recurse as deep as it is."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in TOKEN.finditer(body):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
        if depth > MAX_DEPTH:
            return True
    return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise Unreadable(f"body: has the key {json.dumps(twice)} twice; give each key once")
    return found
