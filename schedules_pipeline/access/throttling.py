"""Wrong credentials, again and again: refused without being looked at, for a while.

Counted per credential and source, so that one client with an old key locks out nobody but itself;
and, with a larger allowance, per source, against one that tries many. Each process counts alone.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import TooManyFailures, Unauthorized
from schedules_pipeline.services.access_port import Authenticator, Presented

PERIOD_SECONDS = 60.0
MOST_PER_CREDENTIAL = 10
MOST_PER_SOURCE = 100
REMEMBERED = 10_000
"""Places, the latest ones: what an attacker can make us remember is bounded."""
CREDENTIALS = ("authorization", "x-api-key", "x-agent-api-key", "cookie")


@dataclass(slots=True)
class Window:
    """Failures since `began` (monotonic, seconds)."""

    began: float
    failures: int = 0


class FailureCount:
    """How often something failed within a period that begins with its first failure."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def seconds_left(self, place: str) -> float:
        """How long no further try is looked at; 0: it is."""
        window = self._windows.get(place)
        if window is None or window.failures < self._most:
            return 0.0
        return max(0.0, window.began + PERIOD_SECONDS - self._now())

    def add(self, place: str) -> None:
        """One more failure."""
        now = self._now()
        window = self._windows.get(place)
        if window is None or window.began + PERIOD_SECONDS <= now:
            window = self._windows[place] = Window(began=now)
        window.failures += 1
        self._windows.move_to_end(place)
        if len(self._windows) > REMEMBERED:
            self._windows.popitem(last=False)


class Throttled:
    """An authenticator that another one's failures pass through."""

    def __init__(
        self, authenticator: Authenticator, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._authenticator = authenticator
        self._credentials = FailureCount(MOST_PER_CREDENTIAL, now)
        self._sources = FailureCount(MOST_PER_SOURCE, now)
        self._lock = Lock()

    def authenticate(self, presented: Presented) -> JsonObject:
        """See `services.access_port.Authenticator`. Errors: TooManyFailures, too."""
        credential = _digest(presented)
        if credential is None:
            # Nothing was tried. The other may still know who this is.
            return self._authenticator.authenticate(presented)
        self._refuse(credential, presented.source)
        try:
            return self._authenticator.authenticate(presented)
        except Unauthorized:
            with self._lock:
                self._credentials.add(credential)
                self._sources.add(presented.source)
            raise

    def _refuse(self, credential: str, source: str) -> None:
        with self._lock:
            left = max(
                self._credentials.seconds_left(credential), self._sources.seconds_left(source)
            )
        if left > 0:
            raise TooManyFailures(math.ceil(left))


def _digest(presented: Presented) -> str | None:
    """Of what was shown, and from where: no secret is kept in memory."""
    shown = [presented.headers.get(name, "") for name in CREDENTIALS]
    if not any(shown):
        return None
    return sha256("\0".join([presented.source, *shown]).encode()).hexdigest()
