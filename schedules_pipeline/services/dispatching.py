"""Dispatching: what both ops of a Dagster run do first. The same call, whoever asks and when."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from schedules_pipeline.domain.slices import SliceKind, slice_of
from schedules_pipeline.services.auditing import AuditTrail
from schedules_pipeline.services.backfilling import expand
from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.fire_delivery import DeliveryRules
from schedules_pipeline.services.news_port import Ear
from schedules_pipeline.services.platform_port import AgentPlatform
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.services.store_port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRules:
    """Grace and retry wait, from the settings."""

    grace: timedelta
    delivery: DeliveryRules


class Dispatcher:
    """One Dagster run's whole work on its slice."""

    def __init__(
        self,
        store: Store,
        dispatch: Dispatch,
        platform: Callable[[], AgentPlatform],
        rules: DispatchRules,
        ear: Callable[[], Ear],
    ) -> None:
        """`platform` is opened anew for each call of `dispatch`, inside its event loop; so is
        `ear`, when there is time to wait."""
        self._store = store
        self._dispatch = dispatch
        self._platform = platform
        self._rules = rules
        self._ear = ear
        self._clock = DatabaseTime(store)
        self._expanded = False

    def dispatch(self) -> None:
        """Deliver what the slice owes until its time is over. Idempotent.

        Errors: DispatchEnded; KeyboardInterrupt when the process was asked to stop (then nothing
        more was claimed, and what came of the fires in hand is written).
        """
        # Waits for a database that is away, and ends here when another has the slice by now.
        self._dispatch.prove()
        self._expand()
        self._clock.measure()
        if asyncio.run(self._work(slice_of(self._dispatch.slice_key).worked_until)):
            raise KeyboardInterrupt("the run was asked to stop; its slice goes on in another")

    def _expand(self) -> None:
        """A person wants an hour that the clock missed: its occurrences get their fires.

        Once for each run: its second op delivers what the first planned.
        """
        hour = slice_of(self._dispatch.slice_key)
        if hour.kind is SliceKind.MISSED and self._dispatch.by_person and not self._expanded:
            expand(self._store, hour)
            self._expanded = True

    def abandon(self) -> None:
        """A person cancelled the run: the tick ends what it owes."""
        self._dispatch.abandon()

    def audit_trail(self) -> AuditTrail:
        """What is to be recorded, after `dispatch`."""
        return AuditTrail(self._dispatch)

    async def _work(self, ends_at: datetime) -> bool:
        """True when it was interrupted."""
        worker = SliceWorker(
            self._dispatch,
            self._platform(),
            self._clock,
            self._rules.delivery,
            self._ear(),
            grace=self._rules.grace,
            ends_at=ends_at,
        )
        with _interrupts(worker.stop):
            await worker.work()
        return worker.stopped


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT becomes a call of `stop`, instead of an exception in the middle of a send."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
