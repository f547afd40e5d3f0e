"""Asks the authorization provider over HTTP, for threads: bounded in time and in size.

One event loop, in a thread of its own, keeps the connections. There the deadline is one for the
whole answer; a plain client knows only one for the time between two bytes.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import Lock

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from schedules_pipeline.errors import Unavailable

log = logging.getLogger("schedules.access")

SECONDS = 2.0
"""For an answer as a whole. Two of them fit into what a transaction may idle (5 s)."""
CONNECTIONS = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body."""

    status: int
    body: bytes


class ProviderClient:
    """See `access.provider.Provider`. Nothing is opened before the first question."""

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        """`url`: the provider's origin."""
        self._url = url.rstrip("/")
        self._seconds = seconds
        self._lock = Lock()
        self._open = ExitStack()
        self._loop: BlockingPortal | None = None

    def ask(self, path: str, headers: Mapping[str, str], body: bytes, *, most: int) -> Answer:
        """POST. Errors: Unavailable when no answer came in time, or one of more than `most`."""
        return self._portal().call(partial(self._ask, path, headers, body, most))

    def close(self) -> None:
        """Give the connections back; nothing can be asked any more."""
        with self._lock:
            if self._loop is not None:
                self._loop.call(self._client.aclose)
            self._open.close()

    def _portal(self) -> BlockingPortal:
        with self._lock:
            if self._loop is None:
                self._loop = self._open.enter_context(start_blocking_portal())
                self._client = _client(self._url, self._seconds)
            return self._loop

    async def _ask(self, path: str, headers: Mapping[str, str], body: bytes, most: int) -> Answer:
        written = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream("POST", path, headers=written, content=body) as response,
            ):
                return Answer(response.status_code, await _read(response, most))
        except (httpx.HTTPError, TimeoutError) as error:
            facts = {"path": path, "because": type(error).__name__}
            log.warning("the authorization provider did not answer", extra={"facts": facts})
            raise Unavailable(
                "The authorization provider cannot be reached, or does not answer within "
                f"{self._seconds:g} s; try again."
            ) from None


def _client(url: str, seconds: float) -> httpx.AsyncClient:
    """Nothing of one principal's request stays for another's: no cookies. No proxies, no netrc."""
    return httpx.AsyncClient(
        base_url=url,
        headers={"accept-encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=seconds,
        limits=httpx.Limits(max_connections=CONNECTIONS),
        trust_env=False,
    )


async def _read(response: httpx.Response, most: int) -> bytes:
    """As it came: what is packed all the same stays packed, and is no JSON."""
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most:
            raise Unavailable(f"The authorization provider answers with more than {most:,} bytes.")
    return bytes(body)
