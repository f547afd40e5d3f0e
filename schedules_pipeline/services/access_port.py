"""What the use cases ask about who may do what. `access/` provides it.

A *principal* is what authentication made of a request's credentials, as JSON: `{}` when nobody has
to say who they are. Of a creator only `CREATOR_FIELDS` are kept, none of which is a credential.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from schedules_pipeline.domain.schedule import JsonObject

CREATOR_FIELDS = ("principal_type", "user_id", "service_account_id", "account_id")


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
    def task(cls, task_id: str = "*") -> "Resource":
        """A task; by default one that does not exist yet."""
        return cls(ResourceType.TASK, task_id)

    @classmethod
    def schedule(cls, agent_id: str, schedule_id: str) -> "Resource":
        """An agent's schedule, under the selector that Agentex gives it."""
        return cls(ResourceType.SCHEDULE, f"run-schedule::{agent_id}::{schedule_id}")


class Authorizer(Protocol):
    """Decides while a request is being answered. Each call blocks its thread."""

    def check(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: PermissionDenied; whatever else kept the question from being answered."""

    def search(
        self, principal: JsonObject, kind: ResourceType, operation: Operation
    ) -> Collection[str] | None:
        """The selectors that the principal may so use; None: all of them."""

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
