"""Dispatching: what both ops of a Dagster run do first. The same call, whoever asks and when."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import uvloop

from schedules_pipeline.domain.slices import SliceKind, slice_of
from schedules_pipeline.errors import DispatchEnded
from schedules_pipeline.services.access_port import FireAccess
from schedules_pipeline.services.auditing import AuditTrail
from schedules_pipeline.services.backfilling import expand
from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.fire_delivery import DeliveryRules
from schedules_pipeline.services.garbage import rare_collections
from schedules_pipeline.services.news_port import Ear
from schedules_pipeline.services.platform_port import AgentPlatform
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.services.store_port import Store

RECORD_SECONDS = 5.0

log = logging.getLogger(__name__)


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
        access: Callable[[], FireAccess | None],
        rules: DispatchRules,
        ear: Callable[[], Ear],
    ) -> None:
        """`platform` and `access` are opened anew by each `dispatch`, inside its event loop; so is
        `ear`, when there is time to wait.

        Without access (None) nobody is asked whether schedules' creators may.
        """
        self._store = store
        self._dispatch = dispatch
        self._platform = platform
        self._access = access
        self._rules = rules
        self._ear = ear
        self._clock = DatabaseTime(store)
        self._expanded = False
        self._slice = slice_of(dispatch.slice_key)
        self._trail = AuditTrail(dispatch)

    def dispatch(self, record: Callable[[], None] | None = None) -> None:
        """Deliver what the slice owes until its time is over. Idempotent.

        `record` writes down the ends that have no record yet: called now and then, in a thread, by
        a standby, whose hour is too long for them to wait.

        Errors: DispatchEnded; KeyboardInterrupt when the process was asked to stop (then nothing
        more was claimed, and what came of the fires in hand is written).
        """
        # Waits for a database that is away, and ends here when another has the slice by now.
        self._dispatch.prove()
        self._expand()
        self._clock.measure()
        with (
            self._recording(record),
            rare_collections(),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            interrupted = runner.run(self._work())
        if interrupted:
            raise KeyboardInterrupt("the run was asked to stop; its slice goes on in another")

    def _expand(self) -> None:
        """A person wants an hour that the clock missed: its occurrences get their fires.

        Once for each run: its second op delivers what the first planned.
        """
        is_missed = self._slice.kind is SliceKind.MISSED
        if is_missed and self._dispatch.by_person and not self._expanded:
            expand(self._store, self._slice)
            self._expanded = True

    def abandon(self) -> None:
        """A person cancelled the run: the tick ends what it owes."""
        self._dispatch.abandon()

    def audit_trail(self) -> AuditTrail:
        """What is to be recorded. One for the whole run: it knows what failed."""
        return self._trail

    @contextmanager
    def _recording(self, record: Callable[[], None] | None) -> Iterator[None]:
        if record is None or not self._stands_by:
            yield
            return
        over = threading.Event()
        keeper = threading.Thread(target=_keep, args=(record, over), name="records", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    @property
    def _stands_by(self) -> bool:
        return self._slice.kind is SliceKind.NOW

    @property
    def _ends_at(self) -> datetime:
        # A person asked for what ended undelivered; who stands by is the clock's business.
        asked_for = self._stands_by and self._dispatch.by_person
        return self._slice.starts_at if asked_for else self._slice.worked_until

    async def _work(self) -> bool:
        """True when it was interrupted."""
        worker = SliceWorker(
            self._dispatch,
            self._platform(),
            self._access(),
            self._clock,
            self._rules.delivery,
            self._ear(),
            grace=self._rules.grace,
            ends_at=self._ends_at,
            standby=self._stands_by,
        )
        with _interrupts(worker.stop):
            await worker.work()
        return worker.stopped


def _keep(record: Callable[[], None], over: threading.Event) -> None:
    while not over.wait(RECORD_SECONDS):
        try:
            record()
        except DispatchEnded:
            return  # The worker sees it too.
        except Exception:
            # Nothing depends on it but a page; what is left now is recorded next time, or at last.
            log.exception("ends of fires could not be recorded")


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
