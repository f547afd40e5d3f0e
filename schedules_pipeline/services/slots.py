"""Slots: how many requests may be in flight. One agent's trouble is its own."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

PER_AGENT = 64
IN_ALL = 512
YOUNG_SECONDS = 2.0


class Slots:
    """At most 64 requests per agent, at most 512 in all.

    Of the 512 only those younger than 2 s count: agents that hang keep their own slots busy and
    nobody else's. `on_free` is called whenever a slot may have become free.
    """

    def __init__(self, on_free: Callable[[], None]) -> None:
        self._on_free = on_free
        self._per_agent: Counter[str] = Counter()
        self._taken_at: dict[int, float] = {}
        self._next_ticket = 0
        self._changed = asyncio.Event()

    def free(self, agent_id: str) -> int:
        """How many slots this agent has left."""
        return PER_AGENT - self._per_agent[agent_id]

    def free_in_all(self) -> int:
        """How many are left altogether."""
        young_since = time.monotonic() - YOUNG_SECONDS
        return IN_ALL - sum(taken > young_since for taken in self._taken_at.values())

    def take(self, agent_id: str) -> int:
        """Take one; returns the ticket to give back."""
        self._per_agent[agent_id] += 1
        self._next_ticket += 1
        self._taken_at[self._next_ticket] = time.monotonic()
        return self._next_ticket

    def give_back(self, agent_id: str, ticket: int) -> None:
        """The request is over, or its fire waits for its next attempt."""
        del self._taken_at[ticket]
        self._per_agent[agent_id] -= 1
        self._changed.set()
        self._on_free()

    async def wait_for(self, agent_id: str) -> int:
        """Wait for a slot, for a fire's next attempt."""
        while self.free(agent_id) <= 0:
            self._changed.clear()
            await self._changed.wait()
        return self.take(agent_id)
