"""No body beyond a mebibyte: answered with 413 before it is held in memory."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

MAX_BODY_BYTES = 1_048_576

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: reads the body, then hands it on in one piece."""

    def __init__(self, app: App, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        messages, size, more = [], 0, True
        while more and size <= self._limit:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        if size > self._limit:
            return await _refusal(self._limit)(scope, receive, send)
        return await self._app(scope, _first(messages, receive), send)


def _first(messages: list[Message], receive: Receive) -> Receive:
    """What was read already, then whatever comes after it."""
    waiting = iter(messages)

    async def replay() -> Message:
        for message in waiting:
            return message
        return await receive()

    return replay


def _refusal(limit: int) -> JSONResponse:
    body = {
        "message": f"The request's body is larger than {limit:,} bytes.",
        "code": 413,
        "data": None,
    }
    return JSONResponse(body, status_code=413, headers={"connection": "close"})
