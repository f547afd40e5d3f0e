"""Done once per Idempotency-Key: what a repeated request gets is the first one's answer.

The key's row, what the request does and its answer are one transaction. Whoever crashes between
them has done nothing; whoever repeats a request while the first is under way waits for its
transaction (the key's row is unique) and finds the answer. A request that is refused leaves
nothing behind, its key neither: repeated, it is judged anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services.store_port import KeyRepository, Store, Transaction
from schedules_pipeline.services.stored import Answer

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A request under a key. `scope`: whose key it is; `fingerprint`: of all that was asked."""

    scope: str
    key: str
    fingerprint: str


class Joined:
    """A store whose transactions are all the one that is open already."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def run(self, work: Callable[[Transaction], T]) -> T:
        """`work`, and no commit."""
        return work(self._tx)


def do_once(store: Store, attempt: Attempt, act: Callable[[Store], Answer]) -> Answer:
    """The first answer under this key; `act` happens in the key's own transaction.

    Errors: InvalidInput (another request had the key); InProgress (the first takes longer than
    3 s); and what `act` raises.
    """

    def once(tx: Transaction) -> Answer:
        if not tx.keys.begin(attempt.scope, attempt.key, attempt.fingerprint):
            return _first(tx.keys, attempt)
        answer = act(Joined(tx))
        tx.keys.keep(attempt.scope, attempt.key, answer)
        tx.keys.prune()
        return answer

    return store.run(once)


def answer_once(store: Store, attempt: Attempt, act: Callable[[Store], Answer]) -> Answer:
    """The first answer under this key, of what does no harm when it happens twice.

    For work in many transactions: it is done, then its answer is kept. Of two at once both work,
    and both get the answer that was kept first. Errors: as `do_once`.
    """
    return find_answer(store, attempt) or keep_answer(store, attempt, act(store))


def find_answer(store: Store, attempt: Attempt) -> Answer | None:
    """The first answer under this key, if there is one. Errors: InvalidInput."""

    def known(tx: Transaction) -> Answer | None:
        found = tx.keys.find(attempt.scope, attempt.key)
        return None if found is None else _first(tx.keys, attempt)

    return store.run(known)


def keep_answer(store: Store, attempt: Attempt, answer: Answer) -> Answer:
    """What everybody gets under this key from now on: this answer, or the one before it.

    Errors: as `do_once`.
    """
    return do_once(store, attempt, lambda _store: answer)


def _first(keys: KeyRepository, attempt: Attempt) -> Answer:
    found = keys.find(attempt.scope, attempt.key)
    assert found is not None, "it was there a statement ago, and is pruned only when it is old"
    fingerprint, answer = found
    if fingerprint != attempt.fingerprint:
        raise InvalidInput(
            "Idempotency-Key",
            f"'{attempt.key}' was used for another request in the last 24 hours; a new request "
            "takes a new key",
        )
    return answer
