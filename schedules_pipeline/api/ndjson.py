"""An answer that goes out line by line while it comes about."""

import json
from collections.abc import Awaitable, Callable

import anyio
from starlette.responses import Response

from schedules_pipeline.api.body_limit import Receive, Scope, Send
from schedules_pipeline.domain.schedule import JsonObject

Write = Callable[[JsonObject], Awaitable[None]]


class Ndjson(Response):
    """`produce` writes the lines. It is cancelled when nobody is there any more to read them, and
    waits while the reader is slow. What goes wrong it says in a line: the status is sent by then.
    """

    media_type = "application/x-ndjson"

    def __init__(self, produce: Callable[[Write], Awaitable[None]]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._produce = produce

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )

        async def write(line: JsonObject) -> None:
            body = json.dumps(line).encode() + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})

        whole = False
        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, receive, group.cancel_scope)
            await self._produce(write)
            whole = True
            group.cancel_scope.cancel()
        if whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
