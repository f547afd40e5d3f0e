"""The database's clock, read without asking: what a worker waits by."""

import time
from datetime import datetime, timedelta

from schedules_pipeline.services.store_port import Store

SAMPLES = 5


class DatabaseTime:
    """The database's clock as an offset to this process's monotonic clock.

    A host clock that is wrong or jumps changes nothing. What is due is still decided by the
    database, at the claim: this only says when it is worth asking.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._origin: datetime | None = None
        self._at = 0.0

    def measure(self) -> None:
        """Take the sample with the shortest round trip."""
        best = None
        for _ in range(SAMPLES):
            began, origin, ended = self._store.run(
                lambda tx: (time.monotonic(), tx.now(), time.monotonic())
            )
            if best is None or ended - began < best:
                best = ended - began
                # Read on the server between the two: at worst half a round trip off.
                self._origin, self._at = origin, (began + ended) / 2

    def now(self) -> datetime:
        """The database's time at this moment, to a fraction of a millisecond."""
        if self._origin is None:
            self.measure()
        assert self._origin is not None
        return self._origin + timedelta(seconds=time.monotonic() - self._at)
