"""One line of JSON per request, under the id that its answer carries. No header, query or body
is written: that is where secrets are. Nor does a traceback repeat them.
"""

import json
import logging
import re
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from starlette.datastructures import MutableHeaders

from schedules_pipeline.api.body_limit import App, Message, Receive, Scope, Send

HEADER = "x-request-id"
USABLE = re.compile(r"[\x21-\x7e]{1,128}")
ROWS = re.compile(r"DETAIL: .*")
"""Where PostgreSQL repeats the row that it refused, with all that it holds."""
PROBES = ("/healthz", "/readyz")

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_log = logging.getLogger("schedules.api")


def request_id() -> str | None:
    """Of the request that is being worked on here; None outside of any."""
    return _request_id.get()


class RequestLog:
    """ASGI middleware: takes the caller's `x-request-id` or makes one, echoes it, writes a line."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        named = _given(scope) or uuid4().hex
        _request_id.set(named)
        began, status = time.monotonic(), 500

        async def echo(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = named
            await send(message)

        try:
            await self._app(scope, receive, echo)
        finally:
            _write(scope, status, time.monotonic() - began)


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        text = value.decode("latin-1")
        if name == HEADER.encode() and USABLE.fullmatch(text):
            return str(text)
    return None


def _write(scope: Scope, status: int, seconds: float) -> None:
    if scope["path"] in PROBES and status == 200:
        return
    facts = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_seconds": round(seconds, 6),
    }
    _log.info("request", extra={"facts": facts})


class JsonLines(logging.Formatter):
    """A record as one JSON object; `facts` of its `extra` become keys of it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["error"] = ROWS.sub("DETAIL: left out", self.formatException(record.exc_info))
        return json.dumps({name: value for name, value in line.items() if value is not None})


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonLines}},
    "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {
        name: {"handlers": ["lines"], "level": "INFO", "propagate": False}
        for name in ("schedules", "uvicorn")
    },
}
"""For `logging.config.dictConfig`, and so for uvicorn."""
