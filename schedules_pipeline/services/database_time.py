"""The database's clock, read without asking: what a worker waits by."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from schedules_pipeline.services.store_port import Store, Transaction

SAMPLES = 5
NOISE_SECONDS = 0.002
MARGIN_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Sample:
    """The database's clock, read between two readings of this process's monotonic one."""

    read: datetime
    began: float
    ended: float

    @property
    def round_trip(self) -> float:
        """How long the question took, in seconds."""
        return self.ended - self.began

    @property
    def middle(self) -> float:
        """The monotonic time at which the server most likely read its clock."""
        return (self.began + self.ended) / 2


def _sample(tx: Transaction) -> Sample:
    began = time.monotonic()
    read = tx.now()
    return Sample(read, began, time.monotonic())


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
        samples = [self._store.run(_sample) for _ in range(SAMPLES)]
        best = min(samples, key=lambda sample: sample.round_trip)
        self._origin, self._at = best.read, best.middle

    def check(self, tx: Transaction) -> None:
        """Follow a clock that was set: called now and then, by whoever has a transaction.

        A sample is at worst half a round trip off. One that our own reckoning cannot explain within
        that means that the database's clock has moved (or this process stood still for a while).
        """
        sample = _sample(tx)
        reckoned = self.now() - timedelta(seconds=time.monotonic() - sample.middle)
        off = abs((sample.read - reckoned).total_seconds())
        if off > sample.round_trip / 2 + NOISE_SECONDS:
            self._origin, self._at = sample.read, sample.middle

    def now(self) -> datetime:
        """The database's time at this moment, to a fraction of a millisecond."""
        if self._origin is None:
            self.measure()
        assert self._origin is not None
        return self._origin + timedelta(seconds=time.monotonic() - self._at)

    def sleep_until(self, instant: datetime) -> None:
        """Block this thread until then, and half a millisecond more: a reading is as good as that.

        To within 0.1 ms, where an event loop's timer is up to 2 ms late.
        """
        left = (instant - self.now()).total_seconds() + MARGIN_SECONDS
        time.sleep(max(left, 0))
