"""Group commit: many small results, few transactions; each waits for its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from schedules_pipeline.errors import SchedulesError

Item = TypeVar("Item")

LARGEST_GROUP = 500


class GroupCommit(Generic[Item]):
    """Writes what comes together in one transaction.

    Nothing is delayed on purpose: while one group commits, the next one gathers.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[bool]]]) -> None:
        """`write` commits a group and says of each item whether its row was still ours."""
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def put(self, item: Item) -> bool:
        """Wait until `item` is committed. False: its row was no longer ours.

        Errors: whatever `write` raises for the group.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._drain())
        return await done

    async def drained(self) -> None:
        """Wait until nothing is waiting to be written."""
        if self._writer is not None:
            await self._writer

    async def _drain(self) -> None:
        # One turn of the loop first: what finished in the same moment goes into the same group.
        await asyncio.sleep(0)
        while self._waiting:
            group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
            await self._commit(group)

    async def _commit(self, group: Sequence[tuple[Item, asyncio.Future[bool]]]) -> None:
        try:
            written = await self._write([item for item, _ in group])
        except SchedulesError as error:
            _fail(group, error)
            return
        except Exception as error:
            # PostgreSQL refuses one of them. Its neighbours have nothing to do with it.
            if len(group) == 1:
                _fail(group, error)
            else:
                for each in group:
                    await self._commit([each])
            return
        for (_, done), kept in zip(group, written, strict=True):
            if not done.done():
                done.set_result(kept)


def _fail(group: Sequence[tuple[Item, asyncio.Future[bool]]], error: Exception) -> None:
    for _, done in group:
        if not done.done():
            done.set_exception(error)
