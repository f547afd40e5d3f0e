"""Tasks of the local platform: what agents and people read of them, and say of their ends."""

import json
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from schedules_pipeline.domain.schedule import Agent, JsonObject
from schedules_pipeline.errors import InvalidInput, NotFound, Rejected
from schedules_pipeline.services.conversation_port import Span, TaskFilter, TaskOrder
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import StoredTask

MAX_PARAMS_BYTES = 65_536
"""Of a task, as JSON: what one request may bring, and what many may have merged."""


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
        return self._store.run(lambda tx: require_task(tx, task_id))

    def get_by_name(self, name: str) -> StoredTask:
        """Errors: NotFound."""
        return self._store.run(lambda tx: require_task_named(tx, name))

    def list(self, wanted: TaskFilter, order: TaskOrder, span: Span) -> Sequence[StoredTask]:
        """One page of them."""
        return self._store.run(lambda tx: tx.tasks.list(wanted, order, span))

    def agents_of(self, tasks: Collection[StoredTask]) -> Mapping[str, Agent]:
        """The tasks' agents, by id."""
        return self._store.run(lambda tx: tx.agents.find({task.agent_id for task in tasks}))

    def update(
        self,
        task_id: str,
        *,
        task_metadata: JsonObject | None = None,
        merge_params: JsonObject | None = None,
    ) -> StoredTask:
        """Metadata anew, parameters key by key. Errors: NotFound; InvalidInput (too large)."""

        def update(tx: Transaction) -> StoredTask:
            changed = tx.tasks.update(
                task_id, task_metadata=task_metadata, merge_params=merge_params
            )
            if changed is None:
                raise _absent("id", task_id)
            if len(json.dumps(changed.params, ensure_ascii=False).encode()) > MAX_PARAMS_BYTES:
                raise InvalidInput(
                    "merge_params",
                    f"the task's params would be larger than {MAX_PARAMS_BYTES:,} bytes; keep "
                    "them elsewhere, send a link",
                )
            return changed

        return self._store.run(update)

    def status(self, task_id: str) -> str | None:
        """What it has come to; None: there is no such task."""
        task = self._store.run(lambda tx: tx.tasks.get(task_id))
        return None if task is None else task.status

    def move(self, task_id: str, end: TaskEnd, reason: str | None) -> StoredTask:
        """Errors: NotFound; Rejected when it is final already."""

        def move(tx: Transaction) -> StoredTask:
            # One conditional update: of two that end it at once, one is told that it came second.
            moved = tx.tasks.move(task_id, end.value, reason, by_its_agent=True)
            if moved is not None:
                return moved
            found = require_task(tx, task_id)
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


def require_task(tx: Transaction, task_id: str) -> StoredTask:
    """Errors: NotFound, in the contract's words."""
    found = tx.tasks.get(task_id)
    if found is None:
        raise _absent("id", task_id)
    return found


def require_task_named(tx: Transaction, name: str) -> StoredTask:
    """Errors: NotFound, in the contract's words."""
    found = tx.tasks.get_by_name(name)
    if found is None:
        raise _absent("name", name)
    return found


def _absent(key: str, value: str) -> NotFound:
    return NotFound(f"Item with {key} '{value}' does not exist.")
