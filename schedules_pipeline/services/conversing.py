"""What a person has for an agent: a task, an input, a word to stop. The manual path.

Each call is opened in one transaction (its rows are there before the agent hears of it), told to
the agent outside of any, and closed in another. What goes wrong before the agent is told raises;
from there on the rows say it too.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from anyio import CancelScope
from anyio.to_thread import run_sync

from schedules_pipeline.domain.fire import TASK_OF_FIRE, task_id
from schedules_pipeline.domain.schedule import AcpType, Agent, AgentStatus, JsonObject
from schedules_pipeline.domain.turn import Turn
from schedules_pipeline.errors import DeliveryError, InvalidInput, NotFound, Rejected
from schedules_pipeline.services.call_permits import CallPermit, NotAsked
from schedules_pipeline.services.calls import (
    Call,
    Caller,
    CancelTask,
    CreateTask,
    InterruptTask,
    Result,
    SendEvent,
    SendMessage,
    WhichAgent,
    WhichTask,
)
from schedules_pipeline.services.conversation_port import NewMessage, StoredEvent, StoredMessage
from schedules_pipeline.services.permitting import Permissions
from schedules_pipeline.services.platform_port import AgentLine, Errand, Take, Task
from schedules_pipeline.services.registering import require_agent
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import StoredTask, TaskRow
from schedules_pipeline.services.tasks import require_task, require_task_named

T = TypeVar("T")

_BOTH = frozenset({"task/create", "task/interrupt"})
METHODS: Mapping[AcpType, frozenset[str]] = {
    AcpType.SYNC: _BOTH | {"message/send"},
    AcpType.ASYNC: _BOTH | {"task/cancel", "event/send"},
    AcpType.AGENTIC: _BOTH | {"task/cancel", "event/send"},
}
"""What an agent can be asked for, by its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A call whose rows are there, and that the agent is to be told."""

    call: Call
    errand: Errand
    task: StoredTask
    event: StoredEvent | None = None


class Conversations:
    """The use cases. `open` is for a thread; `tell` for the event loop."""

    def __init__(self, store: Store, permissions: Permissions | None = None) -> None:
        """`permissions`: whom to ask what the callers may do to tasks, if anybody."""
        self._store = store
        self._permissions = permissions

    def open(self, which: WhichAgent, call: Call, caller: Caller) -> Opened:
        """Errors: NotFound, InvalidInput; Rejected (no agent of that kind, nor of that task);
        PermissionDenied, and the authorizer's.
        """
        if self._permissions is None:
            return self._store.run(lambda tx: _open(tx, which, call, caller, None))
        permit = CallPermit(self._permissions, caller.principal)
        permit.ask(self._store, call)
        while True:
            try:
                return self._store.run(lambda tx: _open(tx, which, call, caller, permit))
            except NotAsked as met:
                # Somebody made a task of that name meanwhile: whose it is, is a new question.
                permit.ask_about(met.subject)

    async def tell(self, opened: Opened, line: AgentLine, take: Take | None = None) -> Result:
        """`take` gets a synchronous agent's updates as they come. Errors: DeliveryError."""
        match opened.call:
            case CreateTask():
                return await self._tell_of_task(opened, line)
            case SendMessage():
                return await self._converse(opened, line, take)
            case CancelTask():
                await line.cancel_task(opened.errand)
                return await self._stopped(opened, "CANCELED")
            case InterruptTask():
                await line.interrupt_task(opened.errand)
                return await self._stopped(opened, "INTERRUPTED")
        await line.send_event(opened.errand)
        assert opened.event is not None
        return opened.event

    async def _tell_of_task(self, opened: Opened, line: AgentLine) -> StoredTask:
        task = opened.task
        if opened.errand.agent.acp_type is AcpType.SYNC:
            return task  # Synchronous agents have no such call.
        try:
            await line.create_task(opened.errand)
        except DeliveryError as error:
            why = str(error)
            await self._run(lambda tx: tx.tasks.note_untold(task.id, why))
            raise
        return await self._run(lambda tx: tx.tasks.note_told(task.id)) or task

    async def _converse(
        self, opened: Opened, line: AgentLine, take: Take | None
    ) -> list[StoredMessage]:
        began, at = time.monotonic(), opened.errand.created_at
        turn = Turn(
            opened.task.id,
            new_id=lambda: str(uuid4()),
            now=lambda: at + timedelta(seconds=time.monotonic() - began),
        )

        async def hear(update: JsonObject) -> None:
            for shown in turn.take(update):
                if take is not None:
                    await take(shown)

        try:
            await line.converse(opened.errand, hear)
        finally:
            # What was said was said, also when the rest of it never came or nobody listens.
            with CancelScope(shield=True):
                said = await self._keep(turn, opened.task.id)
        return said

    async def _keep(self, turn: Turn, task: str) -> list[StoredMessage]:
        messages = [
            NewMessage(id=m.id, task_id=task, content=m.whole(), created_at=m.created_at)
            for m in turn.messages()
        ]
        if not messages:
            return []
        return list(await self._run(lambda tx: tx.messages.insert(messages)))

    async def _stopped(self, opened: Opened, status: str) -> StoredTask:
        """The agent was told; unless it has ended the task in its own way, this is its end."""
        task = opened.task.id

        def stop(tx: Transaction) -> StoredTask:
            moved = tx.tasks.move(task, status, "Asked for by hand", by_its_agent=False)
            return moved or require_task(tx, task)

        return await self._run(stop)

    async def _run(self, work: Callable[[Transaction], T]) -> T:
        return await run_sync(self._store.run, work)


def _open(
    tx: Transaction, which: WhichAgent, call: Call, caller: Caller, permit: CallPermit | None
) -> Opened:
    with permit.announcing() if permit else nullcontext():
        return _open_rows(tx, which, call, caller, permit)


def _open_rows(
    tx: Transaction, which: WhichAgent, call: Call, caller: Caller, permit: CallPermit | None
) -> Opened:
    agent = _agent(tx, which)
    if agent.status is AgentStatus.DELETED:
        raise Rejected(f"Agent '{agent.id}' is deleted.")
    if call.method not in METHODS[agent.acp_type]:
        raise Rejected(f"Unsupported method: {call.method} for ACP type: {agent.acp_type.value}")
    match call:
        case CreateTask():
            return _open_task(tx, agent, call, caller, permit)
        case SendEvent():
            return _open_event(tx, agent, call, caller)
        case SendMessage():
            return _open_message(tx, agent, call, caller, permit)
    return _open_stop(tx, agent, call, caller)


def _open_task(
    tx: Transaction, agent: Agent, call: CreateTask, caller: Caller, permit: CallPermit | None
) -> Opened:
    task = _find_or_create(tx, agent, call, caller, permit)
    return Opened(call=call, errand=_errand(tx, agent, task, caller), task=task)


def _open_stop(
    tx: Transaction, agent: Agent, call: CancelTask | InterruptTask, caller: Caller
) -> Opened:
    task = _own(_find(tx, call.task), agent)
    # A repeated cancel is told again: the first may not have arrived.
    again = isinstance(call, CancelTask) and task.status == "CANCELED"
    if task.status not in ("RUNNING", "INTERRUPTED") and not again:
        raise Rejected(f"Task '{task.id}' is {task.status}; there is nothing to stop.")
    return Opened(call=call, errand=_errand(tx, agent, task, caller), task=task)


def _open_event(tx: Transaction, agent: Agent, call: SendEvent, caller: Caller) -> Opened:
    task = _own(_find(tx, call.task), agent)
    # Held, so that the events of a task become visible in the order of their numbers.
    task = _resumed(tx, tx.tasks.hold(task.id) or task)
    event = tx.events.insert(caller.new_id("event"), task.id, agent.id, call.content)
    errand = _errand(tx, agent, task, caller, event=event)
    return Opened(call=call, errand=errand, task=task, event=event)


def _open_message(
    tx: Transaction, agent: Agent, call: SendMessage, caller: Caller, permit: CallPermit | None
) -> Opened:
    if call.task.id is not None:
        task = _own(require_task(tx, call.task.id), agent)
        task = _with_params(tx, task, call.task_params)
    else:
        wanted = CreateTask(name=call.task.name, params=call.task_params)
        task = _find_or_create(tx, agent, wanted, caller, permit)
    task = _resumed(tx, task)
    message = NewMessage(id=caller.new_id("message"), task_id=task.id, content=call.content)
    tx.messages.insert([message])
    errand = _errand(tx, agent, task, caller, message=message)
    return Opened(call=call, errand=errand, task=task)


def _agent(tx: Transaction, which: WhichAgent) -> Agent:
    if which.id is not None:
        return require_agent(tx, which.id)
    found = tx.agents.get_by_name(which.name or "")
    if found is None:
        raise NotFound(f"Item with name '{which.name}' does not exist.")
    return found


def _find(tx: Transaction, which: WhichTask) -> StoredTask:
    if which.id is not None:
        return require_task(tx, which.id)
    return require_task_named(tx, which.name or "")


def _resumed(tx: Transaction, task: StoredTask) -> StoredTask:
    """The next input lets an interrupted task go on."""
    if task.status != "INTERRUPTED":
        return task
    tx.tasks.resume(task.id)
    return require_task(tx, task.id)


def _own(task: StoredTask, agent: Agent) -> StoredTask:
    if task.agent_id != agent.id:
        raise Rejected(
            f"Task '{task.name or task.id}' is another agent's, not that of agent '{agent.id}'."
        )
    return task


def _find_or_create(
    tx: Transaction, agent: Agent, call: CreateTask, caller: Caller, permit: CallPermit | None
) -> StoredTask:
    """Of two at once one makes it, by its unique name; the other finds it.

    A fire's task has a fire: nobody else makes one of such a name, for the fire would take it for
    its own.
    """
    row = TaskRow(
        id=caller.new_id("task") if call.name is None else task_id(call.name),
        name=call.name,
        agent_id=agent.id,
        params=call.params,
        task_metadata=call.task_metadata or {},
    )
    if _is_of_a_fire(call.name):
        if tx.tasks.get(row.id) is None:
            raise InvalidInput(
                "name", f"tasks that are called '{TASK_OF_FIRE}…' are made by fires; choose another"
            )
    elif tx.tasks.create_by_hand(row):
        if permit is not None:
            permit.made(row)
        return require_task(tx, row.id)
    task = require_task(tx, row.id)
    if permit is not None:
        permit.found(task)
    _own(task, agent)
    return task if call.params == task.params else _with_params(tx, task, call.params)


def _is_of_a_fire(name: str | None) -> bool:
    return name is not None and name.startswith(TASK_OF_FIRE)


def _with_params(tx: Transaction, task: StoredTask, params: JsonObject | None) -> StoredTask:
    return task if params is None else tx.tasks.set_params(task.id, params) or task


def _errand(
    tx: Transaction,
    agent: Agent,
    task: StoredTask,
    caller: Caller,
    *,
    event: StoredEvent | None = None,
    message: NewMessage | None = None,
) -> Errand:
    said = event or message
    return Errand(
        agent=agent,
        task=_as_told(task),
        event_id=said.id if said else caller.new_id("call"),
        event_sequence=event.sequence_id if event else 0,
        content=said.content if said else None,
        created_at=event.created_at if event else tx.now(),
        headers=caller.headers,
    )


def _as_told(task: StoredTask) -> Task:
    return Task(
        id=task.id,
        name=task.name,
        agent_id=task.agent_id,
        status=task.status,
        params=task.params,
        task_metadata=task.task_metadata,
        created_at=task.created_at,
    )
