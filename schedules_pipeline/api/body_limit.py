"""No body beyond a mebibyte (413, before it is held in memory), none that trickles in (408)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
from starlette.responses import JSONResponse

MAX_BODY_BYTES = 1_048_576
MAX_BODY_SECONDS = 30.0
DISCARDED_BYTES = 16 * MAX_BODY_BYTES
"""Of a body that is too large so much is read and thrown away: a connection that is closed upon
bytes that nobody reads is reset, and the caller may never see why."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: reads the body, then hands it on in one piece."""

    def __init__(
        self, app: App, limit: int = MAX_BODY_BYTES, seconds: float = MAX_BODY_SECONDS
    ) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        messages: list[Message] = []
        size = _announced(scope)
        with anyio.move_on_after(self._seconds) as waiting:
            if size <= DISCARDED_BYTES:
                size = await self._read(receive, messages)
        if waiting.cancelled_caught:
            text = f"The request's body did not arrive within {self._seconds:g} seconds."
            return await _refusal(408, text)(scope, receive, send)
        if size > self._limit:
            text = f"The request's body is larger than {self._limit:,} bytes."
            return await _refusal(413, text)(scope, receive, send)
        return await self._app(scope, replay(messages, receive), send)

    async def _read(self, receive: Receive, messages: list[Message]) -> int:
        """To the end of the body; how many bytes it had. What is beyond the limit is not kept."""
        size, more = 0, True
        while more and size <= DISCARDED_BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            if size <= self._limit:
                messages.append(message)
            more = message.get("more_body", False)
        return size


def _announced(scope: Scope) -> int:
    """The header's word for it; the server has seen to it that it is a number."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)


def replay(messages: list[Message], receive: Receive) -> Receive:
    """What was read already, then whatever comes after it."""
    waiting = iter(messages)

    async def replay() -> Message:
        for message in waiting:
            return message
        return await receive()

    return replay


def _refusal(status: int, text: str) -> JSONResponse:
    return JSONResponse(
        {"message": text, "code": status, "data": None},
        status_code=status,
        headers={"connection": "close"},
    )
