"""`SCHEDULES_AUTH=none`: nobody is asked who they are, and everybody may do everything."""

# ruff: noqa: ARG002 - who is asked nothing needs to be told nothing

from collections.abc import Collection

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.access_port import (
    Operation,
    Presented,
    Resource,
    ResourceType,
)


class NobodyAsks:
    """See `services.access_port.Authenticator` and `Authorizer`."""

    keeps_records = False

    def authenticate(self, presented: Presented) -> JsonObject:
        """Anybody."""
        return {}

    def check(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Yes."""

    def search(
        self,
        principal: JsonObject,
        kind: ResourceType,
        operation: Operation,
    ) -> Collection[str] | None:
        """All of them."""
        return None

    def register(
        self, principal: JsonObject, resource: Resource, parent: Resource | None = None
    ) -> None:
        """Nobody keeps a record."""

    def deregister(self, principal: JsonObject, resource: Resource) -> None:
        """Nobody keeps a record."""

    def grant(self, principal: JsonObject, resource: Resource) -> None:
        """Nobody keeps a record."""

    def revoke(self, principal: JsonObject, resource: Resource) -> None:
        """Nobody keeps a record."""
