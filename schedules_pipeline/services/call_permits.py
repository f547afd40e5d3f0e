"""Whether somebody may call an agent about a task: what the contract wants asked, method by method.

That they may call the agent at all was asked before. Of a task that there is, it is asked before
the call's transaction begins; a new one is announced inside of it, for its id follows from its
name: whoever else makes a task of that name waits for the row, and so never takes back what the
other announced. Nobody but they wait while the authorizer is being asked.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import NotFound
from schedules_pipeline.services import locating
from schedules_pipeline.services.access_port import Operation, Resource
from schedules_pipeline.services.calls import (
    Call,
    CancelTask,
    CreateTask,
    SendMessage,
    WhichTask,
)
from schedules_pipeline.services.locating import Locator, Subject
from schedules_pipeline.services.permitting import Permissions
from schedules_pipeline.services.store_port import Store
from schedules_pipeline.services.stored import StoredTask, TaskRow


class NotAsked(Exception):
    """A task turned up that was not there when it was asked what the caller may."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject.absent)
        self.subject = subject


class CallPermit:
    """For one call. Its errors: NotFound, PermissionDenied, and those of the authorizer."""

    def __init__(self, permissions: Permissions, principal: JsonObject) -> None:
        self._permissions = permissions
        self._principal = principal
        self._asked: set[str] = set()
        self._made = ExitStack()

    def ask(self, store: Store, call: Call) -> None:
        """May they do this to the call's task, or make it?"""
        subject = _subject(Locator(store), call)
        if subject is None or isinstance(call, CreateTask):
            self._permissions.require_any(self._principal, Resource.task(), Operation.CREATE)
        if subject is not None:
            cancels = isinstance(call, CancelTask)
            self.ask_about(subject, Operation.CANCEL if cancels else Operation.UPDATE)

    def ask_about(self, subject: Subject, operation: Operation = Operation.UPDATE) -> None:
        """May they do this to a task that there is? (`task/create` changes it, too.)"""
        resource = subject.resource
        self._permissions.require(self._principal, resource, operation, subject.absent)
        self._asked.add(resource.selector)

    @contextmanager
    def announcing(self) -> Iterator[None]:
        """Inside, in the call's transaction, `made` may be said; what fails inside is taken back.

        A commit that fails takes nothing back: nobody knows whether it failed. Its caller may do
        something to a task that there is not, and makes it by repeating the call.
        """
        with ExitStack() as self._made:
            yield

    def made(self, task: TaskRow) -> None:
        """The task's row was written: it is the caller's."""
        resource, parent = Resource.task(task.id), Resource.agent(task.agent_id)
        self._made.enter_context(self._permissions.making(self._principal, resource, parent))

    def found(self, task: StoredTask) -> None:
        """The task was there already. Errors: NotAsked, if it was not there to be asked about."""
        if task.id not in self._asked:
            raise NotAsked(_named(task))


def _subject(locator: Locator, call: Call) -> Subject | None:
    """The task; None: it is yet to be made."""
    which = WhichTask(name=call.name) if isinstance(call, CreateTask) else call.task
    if which.id is not None:
        return locating.task(which.id)
    if which.name is None:
        return None
    try:
        return locator.task_named(which.name)
    except NotFound:
        if isinstance(call, CreateTask | SendMessage):
            return None
        raise


def _named(task: StoredTask) -> Subject:
    if task.name is None:
        return locating.task(task.id)
    return locating.named_task(task.id, task.name)
