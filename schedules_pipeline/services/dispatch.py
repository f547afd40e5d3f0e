"""A dispatch: one Dagster run at work on one slice, and the fence that ends it.

A run that was declared dead must not send anything any more, however it comes back (a frozen
process that wakes, a database that was away). So it proves its life before it writes: by its
heartbeat, by every claim and outcome, and again before each send when the last proof is old.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from schedules_pipeline.domain.slices import SliceKind, slice_of
from schedules_pipeline.errors import DispatchEnded, NotFound, Unavailable
from schedules_pipeline.services.store_port import Store, Transaction

T = TypeVar("T")

HEARTBEAT_SECONDS = 10.0
PROOF_IS_GOOD_FOR_SECONDS = 20.0
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


class Dispatch:
    """Begun when the first op starts, finished after the last. Threads may share it."""

    def __init__(self, store: Store, dagster_run_id: str, slice_key: str) -> None:
        self.dagster_run_id = dagster_run_id
        self.slice_key = slice_key
        self._store = store
        self._proved_at = 0.0
        self._ended = False
        self._patient_until = float("inf")
        self._closing = threading.Event()
        self._heart: threading.Thread | None = None
        self.by_person = False

    def begin(self, *, by_person: bool) -> None:
        """Insert the row and start the heartbeat. A person's run takes up what ended undelivered.

        Errors: NotFound when there is no such slice, when the run was declared ended before it
        began (it was slow, and its slice was given to another), or when another process works it.
        """
        self.by_person = by_person
        if not self._write(lambda tx: self._begin(tx, by_person)):
            raise NotFound(
                f"There is nothing to do for Dagster run {self.dagster_run_id}: either no fires "
                f"are planned in slice {self.slice_key!r}, or the run was declared ended, or "
                "another process works it."
            )
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()

    def _begin(self, tx: Transaction, by_person: bool) -> bool:
        if by_person and self.slice_key.endswith(f"/{SliceKind.MISSED}"):
            # It is only a key in Dagster until somebody wants it.
            tx.slices.open({slice_of(self.slice_key)}, tx.now())
        began = tx.dispatches.begin(
            self.dagster_run_id,
            self.slice_key,
            by_person=by_person,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        # Once, in the transaction that inserts the row: the run's second op reopens nothing.
        if began and by_person and (ended := tx.fires.reopenable_in(self.slice_key)):
            now = tx.now()
            tx.slices.open({slice_of(self.slice_key)}, now)
            tx.fires.reopen(ended, now, None)
        return began

    def abandon(self) -> None:
        """Fall silent without a word: a person cancelled the run, and the tick will see to it."""
        self._closing.set()
        if self._heart is not None:
            self._heart.join()
        self._ended = True

    def finish(self) -> None:
        """Say that this run writes nothing more; what it still holds may be taken over at once."""
        self._closing.set()
        if self._heart is not None:
            self._heart.join()
        if not self._ended:
            self._ended = True
            self._store.run(lambda tx: tx.dispatches.finish(self.dagster_run_id))

    def stop_waiting_after(self, seconds: float) -> None:
        """From then on a database that is away is an error: the process was asked to stop."""
        self._patient_until = min(self._patient_until, time.monotonic() + seconds)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """`work` in one transaction that holds this dispatch alive.

        Waits for as long as the database is away: an outcome must not be lost. Errors:
        DispatchEnded, and then nothing was written; Unavailable after `stop_waiting_after`.
        """

        def fenced(tx: Transaction) -> T:
            tx.dispatches.require_live(self.dagster_run_id)
            return work(tx)

        return self._write(fenced)

    @property
    def proof_is_old(self) -> bool:
        """Whether the next send must be preceded by `prove`."""
        return time.monotonic() - self._proved_at > PROOF_IS_GOOD_FOR_SECONDS

    def prove(self) -> None:
        """Ask the database whether this dispatch is still alive. Errors: DispatchEnded."""
        self.write(lambda _tx: None)

    @property
    def ended(self) -> bool:
        """Whether this run was told that it is over."""
        return self._ended

    def _write(self, work: Callable[[Transaction], T]) -> T:
        while True:
            # Taken before the transaction: it may have been declared dead right after its commit.
            began = time.monotonic()
            try:
                done = self._store.run(work)
            except DispatchEnded:
                self._ended = True
                raise
            except Unavailable:
                if self._closing.is_set() or time.monotonic() > self._patient_until:
                    raise
                time.sleep(RETRY_SECONDS)
                continue
            self._proved_at = began
            return done

    def _beat(self) -> None:
        pause = HEARTBEAT_SECONDS
        while not self._closing.wait(pause):
            began = time.monotonic()
            try:
                alive = self._store.run(lambda tx: tx.dispatches.heartbeat(self.dagster_run_id))
            except Exception as error:
                # Whatever it was: without a heart this run is taken for dead. Soon again, for
                # when the database comes back others count from the last beat.
                log.warning("no heartbeat: %s", error)
                pause = RETRY_SECONDS
                continue
            pause = HEARTBEAT_SECONDS
            if not alive:
                self._ended = True
                return
            self._proved_at = max(self._proved_at, began)
