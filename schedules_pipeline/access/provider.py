"""`SCHEDULES_AUTH=agentex`: a provider says who asks and what they may do.

Its answers are not trusted: they are bounded in time and size (whoever asks for us sees to that),
and what makes no sense is a no.
"""

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from threading import Lock
from typing import Any, Protocol

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import PermissionDenied, ProviderTrouble, Unauthorized, Unavailable
from schedules_pipeline.services.access_port import (
    CREATOR_FIELDS,
    Operation,
    Presented,
    Resource,
    ResourceType,
)

log = logging.getLogger("schedules.access")

CACHE_SECONDS = 60.0
CACHED = 1_000
MAX_PRINCIPAL_BYTES = 65_536
MAX_ANSWER_BYTES = 65_536
MAX_FOUND_BYTES = 16_777_216
"""Of a search: some 150,000 schedules."""
MAX_TEXT, MAX_NAME = 500, 256
NOT_FORWARDED = frozenset(
    {"content-length", "host", "connection", "transfer-encoding", "expect", "accept-encoding"}
)
"""The last is ours: an answer that is packed could unpack to any size."""


class Reply(Protocol):
    """What the provider answered."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


class Provider(Protocol):
    """Asks the provider. `delivery.provider` does it over HTTP."""

    def ask(self, path: str, headers: Mapping[str, str], body: bytes, *, most: int) -> Reply:
        """POST. Errors: Unavailable: no answer in time, or one of more than `most` bytes."""


class ProviderAuthenticator:
    """Asks the provider who this is; a yes holds for 60 s."""

    def __init__(self, provider: Provider, now: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._now = now
        self._known: OrderedDict[str, tuple[float, JsonObject]] = OrderedDict()
        self._lock = Lock()

    def authenticate(self, presented: Presented) -> JsonObject:
        """See `services.access_port.Authenticator`."""
        forwarded = {k: v for k, v in presented.headers.items() if k not in NOT_FORWARDED}
        key = sha256(json.dumps(forwarded, sort_keys=True).encode()).hexdigest()
        known = self._remembered(key)
        if known is not None:
            return known
        principal = self._ask(forwarded)
        self._remember(key, principal)
        return principal

    def _ask(self, forwarded: Mapping[str, str]) -> JsonObject:
        reply = self._provider.ask("/v1/authn", forwarded, b"", most=MAX_PRINCIPAL_BYTES)
        if reply.status != 200:
            raise Unauthorized
        principal = _json(reply.body)
        if not isinstance(principal, dict) or not all(map(_storable, _kept(principal))):
            log.warning(
                "the provider's answer to /v1/authn is no principal: taken for a no. It is an "
                "object; %s in it are texts of at most %d characters, or null",
                ", ".join(CREATOR_FIELDS),
                MAX_NAME,
            )
            raise Unauthorized
        return principal

    def _remembered(self, key: str) -> JsonObject | None:
        with self._lock:
            until, principal = self._known.get(key, (0.0, None))
        return principal if self._now() < until else None

    def _remember(self, key: str, principal: JsonObject) -> None:
        with self._lock:
            self._known[key] = (self._now() + CACHE_SECONDS, principal)
            self._known.move_to_end(key)
            if len(self._known) > CACHED:
                self._known.popitem(last=False)


class ProviderAuthorizer:
    """Asks the provider anew for each request: nothing of it is kept."""

    keeps_records = True

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def check(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: see the port."""
        asked = {"resource": _shown(resource), "operation": operation.value}
        self._tell("check", principal, asked)

    def search(
        self, principal: JsonObject, kind: ResourceType, operation: Operation
    ) -> Collection[str] | None:
        """Errors: see the port."""
        asked = {"filter_resource": kind.value, "filter_operation": operation.value}
        return _found(_json(self._tell("search", principal, asked, most=MAX_FOUND_BYTES)))

    def register(
        self, principal: JsonObject, resource: Resource, parent: Resource | None = None
    ) -> None:
        """Not for a principal that names nobody: the contract skips it then."""
        if not _names_somebody(principal):
            facts = {"resource": resource.selector}
            log.warning(
                "not registered: its principal has neither user_id nor service_account_id",
                extra={"facts": facts},
            )
            return
        above = None if parent is None else _shown(parent)
        self._tell("register", principal, {"resource": _shown(resource), "parent": above})

    def deregister(self, principal: JsonObject, resource: Resource) -> None:
        """Errors: see the port."""
        self._record("deregister", principal, {"resource": _shown(resource)})

    def grant(self, principal: JsonObject, resource: Resource) -> None:
        """Errors: see the port."""
        self._record("grant", principal, {"resource": _shown(resource), "operation": "create"})

    def revoke(self, principal: JsonObject, resource: Resource) -> None:
        """Errors: see the port."""
        self._record("revoke", principal, {"resource": _shown(resource), "operation": "delete"})

    def _record(self, what: str, principal: JsonObject, asked: JsonObject) -> None:
        if _names_somebody(principal):
            self._tell(what, principal, asked)

    def _tell(
        self, what: str, principal: JsonObject, asked: JsonObject, *, most: int = MAX_ANSWER_BYTES
    ) -> bytes:
        path = f"/v1/authz/{what}"
        body = json.dumps({"principal": principal, **asked}).encode()
        reply = self._provider.ask(path, {"content-type": "application/json"}, body, most=most)
        if reply.status != 200:
            raise refusal(path, reply)
        return reply.body


def refusal(path: str, reply: Reply) -> Exception:
    """What an answer other than 200 means: Unauthorized, PermissionDenied or ProviderTrouble."""
    if reply.status == 401:
        return Unauthorized()
    said = _text(reply.body)
    if reply.status == 403:
        return PermissionDenied(said or "The authorization provider says no.")
    text = f"The authorization provider answered {path} with {reply.status}."
    if reply.status in (502, 503):
        return ProviderTrouble(text, reply.status)
    if reply.status >= 500:
        return ProviderTrouble(text, 500)
    if reply.status >= 400:
        return ProviderTrouble(f"{text} {said}".strip(), reply.status)
    # Neither a yes nor an error: passed on, it would look like a yes.
    return ProviderTrouble(text, 502)


def _found(answer: object) -> Collection[str] | None:
    """Exactly `{"unscoped": true}` is all of them; else what is listed."""
    found = answer if isinstance(answer, dict) else {}
    if list(found) == ["unscoped"] and found["unscoped"] is True:
        return None
    items = found.get("items")
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise Unavailable("The authorization provider's answer to /v1/authz/search lists nothing.")
    return items


def _text(body: bytes) -> str:
    """What an error's body says, for whoever asked; bounded, and without control characters."""
    answer = _json(body)
    said: Any = answer
    if isinstance(answer, dict):
        said = answer.get("message") or answer.get("detail")
    if not isinstance(said, str):
        return ""
    return "".join(c for c in said[:MAX_TEXT] if c.isprintable())


def _json(body: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _kept(principal: JsonObject) -> list[object]:
    return [principal.get(name) for name in CREATOR_FIELDS]


def _storable(value: object) -> bool:
    """Cut or left out, a creator's name would be somebody else's at fire time."""
    if not isinstance(value, str):
        return value is None
    return len(value) <= MAX_NAME and value.isprintable()


def _shown(resource: Resource) -> JsonObject:
    return {"type": resource.type.value, "selector": resource.selector}


def _names_somebody(principal: JsonObject) -> bool:
    return bool(principal.get("user_id") or principal.get("service_account_id"))
