"""Ourselves as a contender: the whole of `schedules dev`, ten agents in one process."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version

import psycopg

from bench.contenders import Wanted
from bench.filling import fill
from bench.killing import kill_run_and_daemon
from bench.scene import ledger, next_minute, scene
from schedules_pipeline.dev.databases import with_database
from schedules_pipeline.dev.postgres import DATABASE, EmbeddedPostgres
from tests.agents import RunningAgent
from tests.stack import Stack

AGENTS = 10
AHEAD_SECONDS = 40
"""The clocks' first instants lie behind the frontier: a tick has time to plan them."""
DAY = 86_400
FAR_AHEAD = "2099-01-01T00:00:00Z"


class House:
    """See `bench.contenders.Contender`."""

    name = "ours"
    title = "schedules-pipeline"
    set_up = "`schedules dev` as it is started by hand, without the demo; 10 agents in one process"
    package = "schedules-pipeline"
    largest = 1_000_000
    fastest = 1_000.0
    patience = 75.0
    rounds = 1_000
    rate = 1_000.0

    def ahead(self, number: int) -> float:  # noqa: ARG002
        """A full minute is half a minute away, and what is due then is planned before."""
        return AHEAD_SECONDS + 30.0

    def version(self) -> str:
        """It can always run."""
        return version(self.package)

    @contextmanager
    def up(self) -> Iterator["HousesPlace"]:
        """Started once for all that is asked of it."""
        with scene() as (stack, agent):
            yield HousesPlace(stack, agent)


class HousesPlace:
    """See `bench.contenders.Place`."""

    def __init__(self, stack: Stack, agent: RunningAgent) -> None:
        self.agent, self._stack, self._numbers = agent, stack, itertools.count(1)
        self._agents = [stack.register(f"agent-{n}", agent.url) for n in range(AGENTS)]

    @contextmanager
    def at_work(self, wanted: Wanted) -> Iterator["HousesWork"]:
        """See `bench.contenders.Place`. A trigger's schedule is made as a person makes it."""
        name = f"{wanted.kind}-{next(self._numbers)}"
        if wanted.kind == "trigger":
            schedule = self._stack.create(self._agents[0], name=name, fire_at=FAR_AHEAD)
            path = f"/agents/{schedule['agent_id']}/schedules/{schedule['id']}/trigger"
            yield HousesWork(self._stack, [], path)
            return
        first = int(next_minute(self._stack, ahead=AHEAD_SECONDS))
        self._fill(wanted, first, name)
        yield HousesWork(self._stack, wanted.instants(first), "")

    def _fill(self, wanted: Wanted, first: int, name: str) -> None:
        instants = wanted.instants(first)
        with ledger(self._stack) as store:
            for phase in range(wanted.every if wanted.spread else 1):
                fill(
                    store,
                    self._agents,
                    wanted.number // (wanted.every if wanted.spread else 1),
                    first=datetime.fromtimestamp(first + phase, UTC),
                    every=wanted.every if wanted.kind == "every" else DAY,
                    prefix=f"{name}-{phase}",
                    end_at=datetime.fromtimestamp(instants[-1], UTC),
                )


class HousesWork:
    """See `bench.contenders.Work`."""

    def __init__(self, stack: Stack, instants: list[int], path: str) -> None:
        self.instants = instants
        self._stack, self._path = stack, path

    def roots(self) -> Sequence[int]:
        """`schedules dev` starts all others."""
        return [self._stack.process.pid]

    def trigger(self) -> str:
        """Over the API, as everybody does."""
        answer = self._stack.api.post(self._path)
        answer.raise_for_status()
        key: str = answer.json()["triggered_fire_id"]
        return key

    def crash(self) -> None:
        """The clock and the run at once; the supervisor and the clock bring both back."""
        kill_run_and_daemon(self._stack)

    def database_bytes(self) -> int | None:
        """Of our tables and of Dagster's."""
        url = EmbeddedPostgres(self._stack.home / "postgres").url
        names = (DATABASE, f"{DATABASE}_dagster")
        return sum(_size(with_database(url, name)) for name in names)


def _size(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select pg_database_size(current_database())").fetchone()
    assert row
    return int(row[0])
