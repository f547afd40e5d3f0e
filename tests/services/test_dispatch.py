"""A dispatch: its heart, its fence, and what it does when the database is away."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from schedules_pipeline.errors import DispatchEnded, NotFound, Unavailable
from schedules_pipeline.services import dispatch as dispatch_module
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import EndedRun
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import database_now, end_dispatch, one, past_slice, query

T = TypeVar("T")


class Unreliable:
    """A store whose database is away for its first `failures` transactions after `go_away()`."""

    def __init__(self, store: PostgresStore, error: Exception | None = None) -> None:
        self._store = store
        self._error = error or Unavailable("away")
        self.failures = 0

    def run(self, work: Callable[[Transaction], T]) -> T:
        if self.failures:
            self.failures -= 1
            raise self._error
        return self._store.run(work)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(dispatch_module, "RETRY_SECONDS", 0.01)


def beats_after(store: PostgresStore, moment: object, timeout: float = 5) -> bool:
    """Whether the dispatch's heart beats after that moment."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if one(store, "select heartbeat_at > :moment from dispatches", moment=moment):
            return True
        time.sleep(0.02)
    return False


def eventually(condition: Callable[[], bool], timeout: float = 5) -> bool:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_its_heart_beats_from_the_beginning_to_the_end_and_no_longer(
    store: PostgresStore, quick: None
) -> None:
    dispatch = Dispatch(store, "run-1", past_slice(store))
    dispatch.begin(by_person=False)
    assert beats_after(store, database_now(store))
    dispatch.finish()
    row = query(store, "select * from dispatches")[0]
    assert row.finished_at is not None
    assert row.pid > 0
    assert not [t for t in threading.enumerate() if t.name == "heartbeat"]


def test_a_second_beginning_of_a_live_run_goes_on_and_of_an_ended_one_is_refused(
    store: PostgresStore, quick: None
) -> None:
    key = past_slice(store)
    first, second = Dispatch(store, "run-1", key), Dispatch(store, "run-1", key)
    first.begin(by_person=False)
    second.begin(by_person=False)
    first.finish()
    assert eventually(lambda: second.ended)
    second.finish()
    with pytest.raises(NotFound, match="declared ended"):
        Dispatch(store, "run-1", key).begin(by_person=False)


def test_an_ended_run_is_told_by_its_heart_and_writes_nothing(
    store: PostgresStore, quick: None
) -> None:
    dispatch = Dispatch(store, "run-1", past_slice(store))
    dispatch.begin(by_person=False)
    dispatch.prove()
    end_dispatch(store, "run-1")
    assert eventually(lambda: dispatch.ended)
    written: list[int] = []
    with pytest.raises(DispatchEnded):
        dispatch.write(lambda _tx: written.append(1))
    assert written == []
    ended = one(store, "select finished_at from dispatches")
    dispatch.finish()
    assert one(store, "select finished_at from dispatches") == ended


def test_an_end_in_the_middle_of_a_write_waits_for_it(store: PostgresStore) -> None:
    key = past_slice(store)
    dispatch = Dispatch(store, "run-1", key)
    dispatch.begin(by_person=False)
    entered, leave = threading.Event(), threading.Event()

    def slow(_tx: Transaction) -> None:
        entered.set()
        assert leave.wait(5)

    writer = threading.Thread(target=dispatch.write, args=[slow])
    ended = [EndedRun(dagster_run_id="run-1", slice_key=key)]
    ender = threading.Thread(target=lambda: store.run(lambda tx: tx.dispatches.finish_ended(ended)))
    writer.start()
    assert entered.wait(5)
    ender.start()
    ender.join(0.3)
    assert ender.is_alive()
    leave.set()
    writer.join()
    ender.join()
    assert one(store, "select finished_at is not null from dispatches")
    dispatch.finish()


def test_a_proof_grows_old_by_monotonic_time_and_every_write_renews_it(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "PROOF_IS_GOOD_FOR_SECONDS", 0.2)
    dispatch = Dispatch(store, "run-1", past_slice(store))
    old = [dispatch.proof_is_old]
    dispatch.begin(by_person=False)
    old.append(dispatch.proof_is_old)
    time.sleep(0.25)
    old.append(dispatch.proof_is_old)
    dispatch.write(lambda _tx: None)
    old.append(dispatch.proof_is_old)
    # A proof is as old as the beginning of its transaction.
    dispatch.write(lambda _tx: time.sleep(0.25))
    old.append(dispatch.proof_is_old)
    assert old == [True, False, True, False, True]
    dispatch.finish()


def test_a_write_waits_for_as_long_as_the_database_is_away(
    store: PostgresStore, quick: None
) -> None:
    unreliable = Unreliable(store)
    dispatch = Dispatch(unreliable, "run-1", past_slice(store))
    dispatch.begin(by_person=False)
    unreliable.failures = 20
    assert dispatch.write(lambda tx: tx.now()) is not None
    dispatch.finish()


def test_a_write_gives_up_on_the_database_once_the_process_was_told_to_stop(
    store: PostgresStore, quick: None
) -> None:
    unreliable = Unreliable(store)
    dispatch = Dispatch(unreliable, "run-1", past_slice(store))
    dispatch.begin(by_person=False)
    unreliable.failures = 10_000
    dispatch.stop_waiting_after(0.1)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        dispatch.write(lambda _tx: None)
    assert 0.1 <= time.monotonic() - began < 3
    unreliable.failures = 0
    dispatch.finish()


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError("whatever")])
def test_a_heart_that_missed_a_beat_beats_again_soon_whatever_it_was(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(dispatch_module, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr(dispatch_module, "RETRY_SECONDS", 0.02)
    unreliable = Unreliable(store, error)
    dispatch = Dispatch(unreliable, "run-1", past_slice(store))
    dispatch.begin(by_person=False)
    began, moment = time.monotonic(), database_now(store)
    unreliable.failures = 5
    assert beats_after(store, moment)
    # Five failures at 0.3 s each would be 1.8 s.
    assert time.monotonic() - began < 1.5
    dispatch.finish()
