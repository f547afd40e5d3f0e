"""Tasks of the local platform: what agents and people read of them, and say of their ends."""

from collections.abc import Collection
from enum import StrEnum

from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.store_port import Store, StoredTask, Transaction


class TaskEnd(StrEnum):
    """What may be said of a task that is not final; the value is its new status."""

    COMPLETE = "COMPLETED"
    FAIL = "FAILED"
    CANCEL = "CANCELED"
    TERMINATE = "TERMINATED"
    TIMEOUT = "TIMED_OUT"
    INTERRUPT = "INTERRUPTED"


class Tasks:
    """What can be done with a task."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, task_id: str) -> StoredTask:
        """Errors: NotFound."""
        return self._store.run(lambda tx: _require(tx.tasks.get(task_id), "id", task_id))

    def get_by_name(self, name: str) -> StoredTask:
        """Errors: NotFound."""
        return self._store.run(lambda tx: _require(tx.tasks.get_by_name(name), "name", name))

    def status(self, task_id: str) -> str | None:
        """What it has come to; None: there is no such task."""
        task = self._store.run(lambda tx: tx.tasks.get(task_id))
        return None if task is None else task.status

    def move(self, task_id: str, end: TaskEnd, reason: str | None) -> StoredTask:
        """Errors: NotFound; Rejected when it is final already."""

        def move(tx: Transaction) -> StoredTask:
            # One conditional update: of two that end it at once, one is told that it came second.
            moved = tx.tasks.move(task_id, end.value, reason)
            if moved is not None:
                return moved
            found = _require(tx.tasks.get(task_id), "id", task_id)
            raise Rejected(
                f"Task '{task_id}' is {found.status}; only a task that is RUNNING or INTERRUPTED "
                f"can become {end.value}."
            )

        return self._store.run(move)

    def moved_by_agents(self, fire_ids: Collection[str]) -> Collection[str]:
        """Those of the fires whose agents moved their task since the input could go out."""
        return self._store.run(lambda tx: tx.tasks.moved_by_agents(fire_ids))

    def not_final(self, task_ids: Collection[str]) -> Collection[str]:
        """Those of them that are at work, or were interrupted."""
        return self._store.run(lambda tx: tx.tasks.not_final(task_ids))


def _require(task: StoredTask | None, key: str, value: str) -> StoredTask:
    if task is None:
        raise NotFound(f"Item with {key} '{value}' does not exist.")
    return task
