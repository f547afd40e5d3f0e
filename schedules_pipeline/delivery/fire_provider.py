"""Asks the authorization provider over HTTP, in a slice's event loop: bounded in time and in size.

For threads there is `delivery.provider`. Here thousands ask at once, beside sends that are due.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from schedules_pipeline.delivery.connections import KEEPALIVE_SECONDS
from schedules_pipeline.delivery.provider import Answer
from schedules_pipeline.delivery.replies import quotable
from schedules_pipeline.errors import Unavailable

CONNECTIONS = 160
"""Fewer than the files that `connections.SPARED_FILES` leaves to others than agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the provider may take, in seconds: to connect, and for an answer as a whole."""

    connect: float = 2.0
    answer: float = 5.0


class FireProviderClient:
    """See `access.fire_provider.AsyncProvider`. Belongs to the event loop that first uses it."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        """`url`: the provider's origin."""
        self._base = URL(url.rstrip("/"))
        self._patience = patience or Patience()
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, path: str, headers: Mapping[str, str], body: bytes, *, most: int) -> Answer:
        """POST; again when a kept connection was closed as we wrote, which harms nothing here.

        Errors: Unavailable when no answer came in time, or one of more than `most`.
        """
        try:
            try:
                return await self._post(path, headers, body, most)
            except aiohttp.ServerDisconnectedError:
                return await self._post(path, headers, body, most)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(self._trouble(error)) from error

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, path: str, headers: Mapping[str, str], body: bytes, most: int) -> Answer:
        url = self._base / path.lstrip("/")
        async with self._open().post(
            url, data=body, headers=headers, allow_redirects=False
        ) as response:
            said = bytearray()
            async for piece in response.content.iter_any():
                said += piece
                if len(said) > most:
                    raise self._unavailable(f"answers with more than {most:,} bytes")
            return Answer(response.status, bytes(said))

    def _open(self) -> aiohttp.ClientSession:
        """Nothing of one creator's question stays for another's: no cookies. No proxies."""
        if self._session is None:
            patience = self._patience
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS
                ),
                timeout=aiohttp.ClientTimeout(total=patience.answer, sock_connect=patience.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"accept-encoding": "identity"},
                auto_decompress=False,
            )
        return self._session

    def _trouble(self, error: Exception) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"cannot be reached within {self._patience.connect:g} s"
        if isinstance(error, TimeoutError):
            return f"did not answer within {self._patience.answer:g} s"
        return f"cannot be asked: {quotable(str(error), 200) or type(error).__name__}"

    def _unavailable(self, what: str) -> Unavailable:
        # Not the whole setting: it may hold a password.
        where = f"{self._base.host}:{self._base.port}"
        return Unavailable(f"The authorization provider at {where} {what}.")
