"""Who may do what, at fire time: for everybody, and for the creators that hold our own keys.

What an authorization provider says is asked by `delivery.fire_access`.
"""

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.access_port import Operation, Resource


class EverybodyMay:
    """A `FireAccess` for `SCHEDULES_AUTH=none`: nobody is asked anything."""

    async def check(self, creator: JsonObject, resource: Resource, operation: Operation) -> None:
        """Yes."""

    async def register(self, creator: JsonObject, task: Resource, agent: Resource) -> None:
        """Nobody keeps a record."""

    async def rehearse(self) -> None:
        """There is nothing to do."""

    async def aclose(self) -> None:
        """There is nothing to give back."""
