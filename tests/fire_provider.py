"""A real authorization provider, in a thread: it writes down what it is asked, and misbehaves.

What it answers is said by `answers`, by a piece of the question: of its path, its operation or its
creator's `user_id`; whatever is not named there is answered with yes.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JsonObject = dict[str, Any]

HANG = "hang"
GARBAGE = "garbage"
CLOSE = "close"
Answer = tuple[int, bytes] | str
YES: Answer = (200, b'{"success": true}')


@dataclass
class Provider:
    """`calls`: (path, body), in the order of their coming. `peak`: at most so many at a time."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    thinks_seconds: float = 0
    calls: list[tuple[str, JsonObject]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    peak: int = 0
    going: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def said(self) -> list[str]:
        """The questions in short: `check agent a-1 execute`."""
        return [_short(path, body) for path, body in self.calls]

    def answer(self, path: str, body: JsonObject) -> Answer:
        """To one question."""
        principal = body.get("principal") or {}
        keys = (principal.get("user_id"), path.rsplit("/", 1)[-1], body.get("operation"))
        return next((self.answers[key] for key in keys if key in self.answers), YES)


def _short(path: str, body: JsonObject) -> str:
    resource = body["resource"]
    words = [path.rsplit("/", 1)[-1], resource["type"], resource["selector"]]
    return " ".join([*words, body["operation"]] if "operation" in body else words)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # a crowd connects at once


@contextmanager
def a_provider(**values: Any) -> Iterator[Provider]:
    """Running until the `with` block is left."""
    provider = Provider(**values)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length) or b"{}")
            with provider.lock:
                provider.calls.append((self.path, body))
                provider.connections.add(self.client_address)
                provider.going += 1
                provider.peak = max(provider.peak, provider.going)
            try:
                time.sleep(provider.thinks_seconds)
                self._give(provider.answer(self.path, body))
            finally:
                with provider.lock:
                    provider.going -= 1

        def _give(self, answer: Answer) -> None:
            if isinstance(answer, tuple):
                status, said = answer
                self.send_response(status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
                return
            self.close_connection = True
            if answer == HANG:
                provider.over.wait(30)
            if answer == GARBAGE:
                self.wfile.write(b"\x00\xff once upon a time\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        provider.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
