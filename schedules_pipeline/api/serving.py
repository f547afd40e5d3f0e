"""The server in front of the application: patience has an end, and so has the process.

| what                                   | bound                                          |
|---|---|
| a connection that says nothing, or whose request line and headers trickle in | 10 s, then closed |
| request line and headers together      | 64 KiB and one read (≤ 256 KiB), then 431 and closed |
| a connection that idles after an answer | 5 s, then closed                               |
| a body                                 | `body_limit`: 1 MiB, 30 s                      |
| the requests in flight at SIGTERM      | 10 s, then cut off: their transactions roll back |

Not bounded here, and a proxy's business: how many connections one client holds, how many requests
it makes, and how slowly it takes its answer.
"""

import asyncio
import logging
import os
import signal
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schedules_pipeline.api.request_log import LOGGING
from schedules_pipeline.services.garbage import rare_collections

HEAD_SECONDS = 10.0
HEAD_BYTES = 65_536
IDLE_SECONDS = 5
GRACEFUL_SECONDS = 10.0

_log = logging.getLogger("schedules.api")


def serve(app: FastAPI, host: str, port: int) -> None:
    """Until SIGTERM or SIGINT. Comes back when every request was answered; else the process ends
    here, with exit code 1.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_config=LOGGING,
        http=BoundedHead,
        ws="none",
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
    )
    with rare_collections():
        PatientServer(config).run()


class PatientServer(uvicorn.Server):
    """Ends as a service should: a signal that it obeyed is no error."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Not remembered, as uvicorn does: it would raise the signal again at the end."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Answer what is in flight, take nothing new."""
        try:
            await asyncio.wait_for(super().shutdown(sockets), GRACEFUL_SECONDS)
        except TimeoutError:
            cut_off = len(self.server_state.tasks)
            _log.warning("%d requests were cut off; their transactions roll back", cut_off)
            # Their threads wait for the database. Nothing but the end of the process ends them.
            os._exit(1)


class BoundedHead(HttpToolsProtocol):
    """A connection whose requests begin in time, and at a bearable length."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there, and is expected to say something."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Some of it."""
        super().data_received(data)
        if self._head_timer:
            self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """The first byte of a request; on a used connection the time begins here."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The application takes over, with bounds of its own for the body."""
        self._head_came()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._head_came()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def _head_came(self) -> None:
        self._head_bytes = 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._refuse(b"408 Request Timeout" if self._head_bytes else b"")

    def _refuse(self, status: bytes) -> None:
        """No request has come about: there is nothing for the application to answer."""
        if status and not self.transport.is_closing():
            text = status + b"\n"
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (status, len(text), text)
            )
        self.transport.close()
