"""What the use cases ask about who may do what. `access/` provides it.

A *principal* is what authentication made of a request's credentials, as JSON: `{}` when nobody has
to say who they are. Of a creator only `CREATOR_FIELDS` are kept, none of which is a credential.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from schedules_pipeline.domain.schedule import JsonObject

CREATOR_FIELDS = ("principal_type", "user_id", "service_account_id", "account_id")


def creator_of(principal: JsonObject) -> JsonObject:
    """What is kept of a principal; texts only, for that is what the four fields are."""
    return {
        name: principal[name] for name in CREATOR_FIELDS if isinstance(principal.get(name), str)
    }


class Operation(StrEnum):
    """What somebody wants to do, in the words of the provider contract."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"
    EXECUTE = "execute"
    CANCEL = "cancel"


class ResourceType(StrEnum):
    """To what, in the words of the provider contract."""

    AGENT = "agent"
    TASK = "task"
    API_KEY = "api_key"
    SCHEDULE = "schedule"


ANY = "*"
SCHEDULE_SELECTOR = "run-schedule"


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing, or with the selector `*` one that is yet to be made."""

    type: ResourceType
    selector: str

    @classmethod
    def agent(cls, agent_id: str) -> "Resource":
        """An agent."""
        return cls(ResourceType.AGENT, agent_id)

    @classmethod
    def all_agents(cls) -> "Resource":
        """All of them, and those that are yet to come."""
        return cls(ResourceType.AGENT, ANY)

    @classmethod
    def task(cls, task_id: str = ANY) -> "Resource":
        """A task; by default one that does not exist yet."""
        return cls(ResourceType.TASK, task_id)

    @classmethod
    def schedule(cls, agent_id: str, schedule_id: str) -> "Resource":
        """An agent's schedule, under the selector that Agentex gives it."""
        return cls(ResourceType.SCHEDULE, f"{SCHEDULE_SELECTOR}::{agent_id}::{schedule_id}")


def ids_of(kind: ResourceType, selectors: Collection[str]) -> frozenset[str]:
    """The ids that selectors name. What is no selector of that kind names nothing."""
    if kind is not ResourceType.SCHEDULE:
        return frozenset(selectors)
    parts = (selector.split("::") for selector in selectors)
    return frozenset(part[2] for part in parts if len(part) == 3 and part[0] == SCHEDULE_SELECTOR)


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request brings to say who asks.

    `headers`: all of them, names in lower case, values of repeated ones joined by `, `.
    `source`: the address that it came from.
    """

    headers: Mapping[str, str]
    source: str


class Authenticator(Protocol):
    """Makes a principal of what a request brings. Each call blocks its thread."""

    def authenticate(self, presented: Presented) -> JsonObject:
        """Errors: Unauthorized; TooManyFailures; Unavailable, when nobody could tell."""


class Authorizer(Protocol):
    """Decides while a request is being answered. Each call blocks its thread.

    Every method's errors: Unauthorized (the principal is not what it was a moment ago);
    ProviderTrouble; Unavailable.
    """

    keeps_records: bool
    """Whether somebody has to be told of what is made and deleted."""

    def check(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: PermissionDenied."""

    def search(
        self, principal: JsonObject, kind: ResourceType, operation: Operation
    ) -> Collection[str] | None:
        """The selectors that the principal may so use; None: all of them.

        Errors: PermissionDenied, when there can be none.
        """

    def register(
        self, principal: JsonObject, resource: Resource, parent: Resource | None = None
    ) -> None:
        """A thing came to be."""

    def deregister(self, principal: JsonObject, resource: Resource) -> None:
        """It is gone."""

    def grant(self, principal: JsonObject, resource: Resource) -> None:
        """It belongs to who made it."""

    def revoke(self, principal: JsonObject, resource: Resource) -> None:
        """It does so no longer."""


class FireAccess(Protocol):
    """Decides at fire time, inside the slice's event loop, for the stored creator of a schedule."""

    async def check(self, creator: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: PermissionDenied is final; any other is worth another attempt."""

    async def register(self, creator: JsonObject, task: Resource, agent: Resource) -> None:
        """A fire made a task for its creator: known to the provider, and the creator's.

        May be repeated. Errors: as those of `check`.
        """

    async def rehearse(self) -> None:
        """Do beforehand what only the first question would take time for. Fails nothing."""

    async def aclose(self) -> None:
        """Give the connections back."""
