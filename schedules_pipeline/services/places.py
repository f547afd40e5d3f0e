"""How many calls by hand may be under way: who hangs keeps callers, sockets and memory of ours."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from schedules_pipeline.errors import Busy

PER_AGENT = 64
IN_ALL = 256


class Places:
    """At most 64 calls per agent and 256 in all; further ones are refused, and may come again."""

    def __init__(self, per_agent: int = PER_AGENT, in_all: int = IN_ALL) -> None:
        self._most = per_agent
        self._most_in_all = in_all
        self._taken: Counter[str] = Counter()

    def require(self, agent: str) -> None:
        """`agent`: as it was called in the request. Errors: Busy."""
        if self._taken[agent] >= self._most:
            raise Busy(
                f"Agent '{agent}' has {self._most} calls under way and answers none of them yet; "
                "try again."
            )
        if self._taken.total() >= self._most_in_all:
            raise Busy(f"{self._most_in_all} calls to agents are under way; try again.")

    @contextmanager
    def held(self, agent: str) -> Iterator[None]:
        """One more, for as long as it lasts."""
        self._taken[agent] += 1
        try:
            yield
        finally:
            self._taken[agent] -= 1
            self._taken += Counter()  # Forgets agents that have none.
