"""What a request is about, as the authorizer knows it: found before anybody is asked."""

from dataclasses import dataclass

from schedules_pipeline.errors import NotFound
from schedules_pipeline.services.access_port import Resource
from schedules_pipeline.services.conversation_port import StoredEvent, StoredMessage
from schedules_pipeline.services.managing import require_named
from schedules_pipeline.services.store_port import Store
from schedules_pipeline.services.tasks import require_task_named


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing, and what is said of it to whoever may not see it.

    Where its existence can be looked up, those are the words for a thing that is not there: nobody
    learns from them that it is. An agent's or a schedule's id is not looked up before its
    authorization: denied is denied, whether it exists or not.
    """

    resource: Resource
    absent: str


def agent(agent_id: str) -> Subject:
    """An agent, by its id."""
    return Subject(Resource.agent(agent_id), f"Item with id '{agent_id}' does not exist.")


def schedule(agent_id: str, schedule_id: str) -> Subject:
    """An agent's schedule, by its id."""
    resource = Resource.schedule(agent_id, schedule_id)
    return Subject(resource, f"Item with id '{resource.selector}' does not exist.")


def task(task_id: str) -> Subject:
    """A task, by its id."""
    return Subject(Resource.task(task_id), f"Item with id '{task_id}' does not exist.")


def named_task(task_id: str, name: str) -> Subject:
    """A task that was found by its name."""
    return Subject(Resource.task(task_id), f"Item with name '{name}' does not exist.")


class Locator:
    """Things that have to be looked up. Every method's errors: NotFound, with the same words."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def agent_named(self, name: str) -> Subject:
        """The agent that has this name."""
        absent = f"Item with name '{name}' does not exist."
        found = self._store.run(lambda tx: tx.agents.get_by_name(name))
        if found is None:
            raise NotFound(absent)
        return Subject(Resource.agent(found.id), absent)

    def schedule_named(self, agent_id: str, name: str) -> Subject:
        """The active schedule that has this name."""
        found = self._store.run(lambda tx: require_named(tx, agent_id, name))
        return Subject(
            Resource.schedule(agent_id, found.id),
            f"Run schedule '{name}' for agent '{agent_id}' does not exist.",
        )

    def task_named(self, name: str) -> Subject:
        """The task that has this name."""
        found = self._store.run(lambda tx: require_task_named(tx, name))
        return named_task(found.id, name)

    def task_of_event(self, event_id: str) -> Subject:
        """The task that an event was sent to."""
        return self._task_of(event_id, self._store.run(lambda tx: tx.events.get(event_id)))

    def task_of_message(self, message_id: str) -> Subject:
        """The task that a message was said in."""
        return self._task_of(message_id, self._store.run(lambda tx: tx.messages.get(message_id)))

    def schedule_of_fire(self, fire_id: str) -> Subject:
        """Whose fire it is: a deleted schedule's too."""
        absent = f"Fire '{fire_id}' does not exist."
        found = self._store.run(lambda tx: tx.fires.get(fire_id))
        if found is None:
            raise NotFound(absent)
        return Subject(Resource.schedule(found.agent_id, found.schedule_id), absent)

    def schedule_of_backfill(self, backfill_id: str) -> Subject:
        """Whose backfill it is: a deleted schedule's too."""
        absent = f"Backfill '{backfill_id}' does not exist."
        found = self._store.run(lambda tx: tx.backfills.owner(backfill_id))
        if found is None:
            raise NotFound(absent)
        return Subject(Resource.schedule(*found), absent)

    def _task_of(self, key: str, found: StoredEvent | StoredMessage | None) -> Subject:
        absent = f"Item with id '{key}' does not exist."
        if found is None:
            raise NotFound(absent)
        return Subject(Resource.task(found.task_id), absent)
