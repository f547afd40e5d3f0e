"""Who takes part side by side: what a question may ask of each, whatever it is made of.

    with contender.up() as place:                       # its agent, its database server
        with place.at_work(Wanted("once", 1_000)) as work:
            work.instants                               # when so many are due

`bench.house` is ours, `bench.rivals` are the others.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from tests.agents import RunningAgent


@dataclass(frozen=True)
class Wanted:
    """What is to be due, soon.

    `once`: `number` fires at one instant. `every`: `number` schedules, each every `every` seconds
    for `seconds`; `spread`: not all in the same second. `trigger`: what is asked for, when it is.
    """

    kind: str
    number: int = 1
    every: int = 10
    seconds: int = 0
    spread: bool = False

    @property
    def due(self) -> int:
        """How many fires that makes."""
        return self.number * self.seconds // self.every if self.kind == "every" else self.number

    def instants(self, first: int) -> list[int]:
        """When they are due."""
        if self.kind != "every":
            return [first]
        step = 1 if self.spread else self.every
        return list(range(first, first + self.seconds, step))


class Work(Protocol):
    """A contender that has its schedules and waits for the first of `instants`."""

    instants: list[int]

    def roots(self) -> Sequence[int]:
        """The processes below which everything runs that it needs, its database's too."""

    def trigger(self) -> str:
        """Ask for a fire now; returns the key under which it reaches the agent."""

    def crash(self) -> None:
        """SIGKILL whatever schedules and works, the database not; it is started again at once."""

    def database_bytes(self) -> int | None:
        """What it keeps takes so much; None when that is not in PostgreSQL."""


class Place(Protocol):
    """Where a contender runs."""

    agent: RunningAgent

    def at_work(self, wanted: Wanted) -> AbstractContextManager[Work]:
        """Give it schedules. Errors: Unavailable when it does not come up."""


class Contender(Protocol):
    """`largest`: more fires at once would take it hours. `fastest`: it does not make more fires a
    second, so it is not asked to. `patience`: after so many seconds without an input, what has not
    come is lost, and what has come is not repeated any more. `rounds`: it is asked no more often,
    being slow. `rate`: about how many fires a second it makes in a burst; only for the estimate."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def title(self) -> str:
        """As in the tables."""

    @property
    def set_up(self) -> str:
        """How it is used here, for people who know it."""

    @property
    def largest(self) -> int:
        """See above."""

    @property
    def fastest(self) -> float:
        """See above."""

    @property
    def patience(self) -> float:
        """See above."""

    @property
    def rounds(self) -> int:
        """See above."""

    @property
    def rate(self) -> float:
        """See above."""

    def ahead(self, number: int) -> float:
        """About how many seconds pass until so many schedules stand and the first is due."""

    def version(self) -> str:
        """Errors: Unavailable when it cannot run here."""

    def up(self) -> AbstractContextManager[Place]:
        """Errors: Unavailable."""
