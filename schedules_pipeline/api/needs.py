"""What each route needs: one line for each. An application with a route without one is not made.

The operations on resources are those of the Agentex contract; which role has them under
`SCHEDULES_AUTH=api_key` says `access.keys.RIGHTS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services import locating
from schedules_pipeline.services.access_port import Operation, Resource, ResourceType
from schedules_pipeline.services.locating import Locator, Subject

Values = Mapping[str, str]
"""Of the one part of the request that says what it is about, by name."""
Find = Callable[[Locator, Values], Subject]


@dataclass(frozen=True, slots=True)
class Open:
    """Nobody is asked who they are."""


@dataclass(frozen=True, slots=True)
class Registering:
    """Open, unless registration is closed: then as `OnAll(CREATE, all agents)`."""


@dataclass(frozen=True, slots=True)
class Known:
    """Whoever can say who they are."""


class Where(Enum):
    """Which part of a request says what it is about; what stands in the others is not looked at."""

    PATH = auto()
    QUERY = auto()
    BODY = auto()


@dataclass(frozen=True, slots=True)
class On:
    """The right to do this to the one thing that the request is about."""

    operation: Operation
    find: Find
    where: Where = Where.PATH


@dataclass(frozen=True, slots=True)
class OnAll:
    """The right to do this to what is no single thing."""

    operation: Operation
    resource: Resource


@dataclass(frozen=True, slots=True)
class Among:
    """The route shows or changes only those things to which one may do this; none is no error.

    Its function takes `api.access.Permitted`, and keeps to it.
    """

    operation: Operation
    kind: ResourceType


Need = Open | Registering | Known | On | OnAll | Among


def _agent(locator: Locator, given: Values) -> Subject:
    if "agent_name" in given:
        return locator.agent_named(given["agent_name"])
    return locating.agent(given["agent_id"])


def _schedule(locator: Locator, given: Values) -> Subject:
    if "name" in given:
        return locator.schedule_named(given["agent_id"], given["name"])
    return locating.schedule(given["agent_id"], given["schedule_id"])


def _task(locator: Locator, given: Values) -> Subject:
    if "task_name" in given:
        return locator.task_named(given["task_name"])
    return locating.task(given["task_id"])


def _task_given(_locator: Locator, given: Values) -> Subject:
    """By nothing but its id. Errors: InvalidInput."""
    if "task_id" not in given:
        raise InvalidInput("task_id", "is missing, or is no text; give a task's id")
    return locating.task(given["task_id"])


def _task_of_event(locator: Locator, given: Values) -> Subject:
    return locator.task_of_event(given["event_id"])


def _task_of_message(locator: Locator, given: Values) -> Subject:
    return locator.task_of_message(given["message_id"])


def _schedule_of_fire(locator: Locator, given: Values) -> Subject:
    return locator.schedule_of_fire(given["fire_id"])


def _schedule_of_backfill(locator: Locator, given: Values) -> Subject:
    return locator.schedule_of_backfill(given["backfill_id"])


READ, UPDATE = Operation.READ, Operation.UPDATE
ONE, NAMED = (
    "/agents/{agent_id}/schedules/{schedule_id}",
    "/agents/{agent_id}/schedules/name/{name}",
)
REGISTER = ("POST", "/agents/register")
FIRE = "/fires/{fire_id}"
MESSAGE = "/messages/{message_id}"

NEEDS: Mapping[tuple[str, str], Need] = {
    ("GET", "/healthz"): Open(),
    ("GET", "/readyz"): Open(),
    # An agent that starts knows no key yet; it is given one here.
    REGISTER: Registering(),
    ("GET", "/agents"): Among(READ, ResourceType.AGENT),
    ("GET", "/agents/{agent_id}"): On(READ, _agent),
    ("GET", "/agents/name/{agent_name}"): On(READ, _agent),
    # What it takes of the task depends on the method that is called: `services.call_permits`.
    ("POST", "/agents/{agent_id}/rpc"): On(Operation.EXECUTE, _agent),
    ("POST", "/agents/name/{agent_name}/rpc"): On(Operation.EXECUTE, _agent),
    ("GET", "/clock"): Known(),
    ("PUT", "/clock"): OnAll(UPDATE, Resource.all_agents()),
    ("GET", "/agents/{agent_id}/clock"): On(READ, _agent),
    ("PUT", "/agents/{agent_id}/clock"): On(UPDATE, _agent),
    ("POST", "/agents/{agent_id}/schedules"): On(UPDATE, _agent),
    ("GET", "/agents/{agent_id}/schedules"): Among(READ, ResourceType.SCHEDULE),
    ("GET", ONE): On(READ, _schedule),
    ("GET", NAMED): On(READ, _schedule),
    ("PATCH", ONE): On(UPDATE, _schedule),
    ("PATCH", NAMED): On(UPDATE, _schedule),
    ("DELETE", ONE): On(Operation.DELETE, _schedule),
    ("DELETE", NAMED): On(Operation.DELETE, _schedule),
    ("POST", f"{ONE}/pause"): On(UPDATE, _schedule),
    ("POST", f"{NAMED}/pause"): On(UPDATE, _schedule),
    ("POST", f"{ONE}/resume"): On(UPDATE, _schedule),
    ("POST", f"{NAMED}/resume"): On(UPDATE, _schedule),
    ("POST", f"{ONE}/trigger"): On(UPDATE, _schedule),
    ("POST", f"{NAMED}/trigger"): On(UPDATE, _schedule),
    ("POST", f"{ONE}/skip"): On(UPDATE, _schedule),
    ("POST", f"{ONE}/unskip"): On(UPDATE, _schedule),
    ("POST", f"{ONE}/backfill"): On(UPDATE, _schedule),
    ("POST", f"{NAMED}/backfill"): On(UPDATE, _schedule),
    ("GET", f"{ONE}/occurrences"): On(READ, _schedule),
    ("GET", f"{ONE}/fires"): On(READ, _schedule),
    ("GET", f"{ONE}/history"): On(READ, _schedule),
    ("GET", f"{ONE}/audit"): On(READ, _schedule),
    ("GET", f"{NAMED}/audit"): On(READ, _schedule),
    ("GET", "/schedules"): Among(READ, ResourceType.SCHEDULE),
    ("POST", "/schedules/pause"): Among(UPDATE, ResourceType.SCHEDULE),
    ("POST", "/schedules/resume"): Among(UPDATE, ResourceType.SCHEDULE),
    ("POST", "/schedules/preview"): Known(),
    ("GET", "/backfills/{backfill_id}"): On(READ, _schedule_of_backfill),
    ("GET", "/fires"): Among(READ, ResourceType.SCHEDULE),
    ("GET", "/fires/overdue"): Among(READ, ResourceType.SCHEDULE),
    ("GET", FIRE): On(READ, _schedule_of_fire),
    ("POST", f"{FIRE}/redrive"): On(UPDATE, _schedule_of_fire),
    ("GET", "/tasks"): Among(READ, ResourceType.TASK),
    ("GET", "/tasks/{task_id}"): On(READ, _task),
    ("GET", "/tasks/name/{task_name:path}"): On(READ, _task),
    ("PUT", "/tasks/{task_id}"): On(UPDATE, _task),
    ("PUT", "/tasks/name/{task_name:path}"): On(UPDATE, _task),
    ("POST", "/tasks/{task_id}/complete"): On(UPDATE, _task),
    ("POST", "/tasks/{task_id}/fail"): On(UPDATE, _task),
    ("POST", "/tasks/{task_id}/cancel"): On(Operation.CANCEL, _task),
    ("POST", "/tasks/{task_id}/terminate"): On(UPDATE, _task),
    ("POST", "/tasks/{task_id}/timeout"): On(UPDATE, _task),
    ("POST", "/tasks/{task_id}/interrupt"): On(UPDATE, _task),
    ("GET", "/events"): On(READ, _task_given, Where.QUERY),
    ("GET", "/events/{event_id}"): On(READ, _task_of_event),
    ("GET", "/messages"): On(READ, _task_given, Where.QUERY),
    ("GET", "/messages/paginated"): On(READ, _task_given, Where.QUERY),
    ("GET", MESSAGE): On(READ, _task_of_message),
    ("POST", "/messages"): On(UPDATE, _task_given, Where.BODY),
    ("POST", "/messages/batch"): On(UPDATE, _task_given, Where.BODY),
    # Of a message in another task than the body says nothing is found, and nothing changed.
    ("PUT", "/messages/batch"): On(UPDATE, _task_given, Where.BODY),
    ("PUT", MESSAGE): On(UPDATE, _task_given, Where.BODY),
}

DOCUMENTS = ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/favicon.ico")
OPEN = frozenset(
    {
        *(place for place, need in NEEDS.items() if isinstance(need, Open)),
        *((method, path) for method in ("GET", "HEAD") for path in DOCUMENTS),
    }
)
"""Exactly these, not what lies below them: an agent may have the id `register`."""
