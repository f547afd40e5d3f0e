"""Who may do what, at fire time, with `SCHEDULES_AUTH=api_key`: creators that hold our own keys.

With `agentex` a provider is asked, by `access.fire_provider`; with `none` nobody is.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from schedules_pipeline.access.keys import PRINCIPAL_TYPE
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import PermissionDenied, Unavailable
from schedules_pipeline.services.access_port import Operation, Resource
from schedules_pipeline.services.dispatch import RETRY_SECONDS
from schedules_pipeline.services.group_commit import GroupCommit


class KeyHoldersMay:
    """A `FireAccess` for `SCHEDULES_AUTH=api_key`: creators that hold keys of ours.

    Whatever is asked together is one statement; no answer is kept. What a principal may start, it
    may start at every agent: its role and its keys decide.
    """

    def __init__(self, may_fire: Callable[[Collection[str]], Collection[str]]) -> None:
        """`may_fire`: those of some principals that may fire now; it may block its thread."""
        self._may_fire = may_fire
        self._questions = GroupCommit(self._ask)

    async def check(self, creator: JsonObject, resource: Resource, operation: Operation) -> None:
        """Waits for a database that is away, as the outcome would have to.

        Errors: PermissionDenied, whose text says how to mend it.
        """
        name = _holder(creator)
        while True:
            try:
                allowed = await self._questions.put(name)
                break
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
        if not allowed:
            raise PermissionDenied(
                f"The schedule's creator, principal {name!r}, may not {operation.value} "
                f"{resource.type.value} {resource.selector}: it is revoked, is neither editor nor "
                "admin, or has no key that is still valid. Make it a key (`schedules keys "
                "create`), or hand its schedules over (`schedules keys adopt --principal NAME "
                f"--from {name}`)."
            )

    async def register(self, creator: JsonObject, task: Resource, agent: Resource) -> None:
        """Nobody keeps a record: every editor may use every task."""

    async def rehearse(self) -> None:
        """Opens the connection, and makes it read the catalog."""
        with suppress(Unavailable):
            await asyncio.to_thread(self._may_fire, ())

    async def aclose(self) -> None:
        """The connection is the run's; only nothing must be under way on it."""
        await self._questions.drained()

    async def _ask(self, names: Sequence[str]) -> Sequence[bool]:
        allowed = await asyncio.to_thread(self._may_fire, set(names))
        return [name in allowed for name in names]


def _holder(creator: JsonObject) -> str:
    """The principal's name. Errors: PermissionDenied when the creator holds no key of ours."""
    if not creator:
        raise PermissionDenied(
            "The schedule has no creator: it was made while SCHEDULES_AUTH was 'none'. `schedules "
            "keys adopt --principal NAME` makes a principal the creator of all such schedules."
        )
    name = creator.get("user_id")
    if creator.get("principal_type") != PRINCIPAL_TYPE or not isinstance(name, str):
        raise PermissionDenied(
            "The schedule's creator holds no key: it was made under another SCHEDULES_AUTH. Make "
            "the schedule anew with a key."
        )
    return name
