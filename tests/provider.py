"""An authorization provider over real HTTP that decides by a table and keeps what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Right = tuple[str, str, str]
"""Type of resource, selector, operation."""


@dataclass(frozen=True)
class Call:
    """One question."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None

    def short(self) -> tuple[str, ...]:
        """What is asked, without who asks."""
        if self.body is None:
            return (self.path.rpartition("/")[2],)
        resource = self.body.get("resource")
        about = (f"{resource['type']}:{resource['selector']}",) if resource else ()
        filters = [self.body[f"filter_{key}"] for key in ("resource", "operation") if not resource]
        operation = (self.body["operation"],) if "operation" in self.body else ()
        return (self.path.rpartition("/")[2], *about, *filters, *operation)


@dataclass
class StubProvider:
    """Who is who (by the header `x-user`), what each may, and what it answers out of turn."""

    url: str
    principals: dict[str, Any] = field(default_factory=dict)
    rights: dict[str, set[Right]] = field(default_factory=dict)
    unscoped: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Instead of a decision, by path."""
    before: dict[str, Callable[[], object]] = field(default_factory=dict)
    """What happens meanwhile, by path; once."""
    always: dict[str, Callable[[], object]] = field(default_factory=dict)
    """The same, each time."""
    extra_headers: dict[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0
    """Between two bytes of an answer."""

    def knows(self, user: str, *rights: Right, **principal: Any) -> None:
        """One more principal."""
        self.principals[user] = {"user_id": user, **principal}
        self.rights[user] = set(rights)

    def asked(self) -> list[tuple[str, ...]]:
        """What was asked since the last time, in order."""
        calls, self.calls = self.calls, []
        return [call.short() for call in calls]

    def answer(self, call: Call) -> tuple[int, bytes]:
        """As the contract has it."""
        if call.path in self.before:
            self.before.pop(call.path)()
        self.always.get(call.path, bool)()
        if call.path in self.answers:
            return self.answers[call.path]
        if call.path == "/v1/authn":
            principal = self.principals.get(call.headers.get("x-user", ""))
            return (401, b"") if principal is None else (200, json.dumps(principal).encode())
        assert call.body is not None
        user = call.body["principal"].get("user_id", "")
        if call.path.endswith("/search"):
            return 200, json.dumps(self._found(user, call.body)).encode()
        if call.path.endswith("/check") and not self._may(user, call.body):
            return 403, b'{"detail": "The provider says no"}'
        return 200, b'{"success": true}'

    def _may(self, user: str, asked: dict[str, Any]) -> bool:
        resource = asked["resource"]
        right = (resource["type"], resource["selector"], asked["operation"])
        return right in self.rights.get(user, ())

    def _found(self, user: str, asked: dict[str, Any]) -> dict[str, Any]:
        if user in self.unscoped:
            return {"unscoped": True}
        kind, operation = asked["filter_resource"], asked["filter_operation"]
        items = [s for k, s, o in self.rights[user] if (k, o) == (kind, operation)]
        return {"items": sorted(items)}


@contextmanager
def running_provider() -> Iterator[StubProvider]:
    """On a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.path, headers, json.loads(text) if text else None)
            stub.calls.append(call)
            status, body = stub.answer(call)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            for name, value in stub.extra_headers.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(body)

        def _write(self, body: bytes) -> None:
            if not stub.drip_seconds:
                self.wfile.write(body)
                return
            try:
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(stub.drip_seconds)
            except OSError:
                self.close_connection = True  # The other side has seen enough.

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub = StubProvider(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
