"""The stage of the soak: the whole house, recording agents, and schedules of many cadences.

All on loopback, in a temporary folder, in process groups of their own; nothing is left of it.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.parts import POSTGRES
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.errors import StartupError
from soak.occurrences import Expected
from tests.agents import RunningAgent, start_agent
from tests.stack import Stack, start_stack

CATCH_UP_ALL = {
    "catchup_policy": "all",
    "catchup_window_seconds": 3600,
    "overlap_policy": "allow_all",
}
# Of ten schedules: the cadences that most people use least are here the busiest.
CADENCES: Sequence[dict[str, Any]] = (
    {"interval_seconds": 60},
    {"cron_expression": "* * * * *", "timezone": "Europe/Berlin"},
    {"interval_seconds": 30},
    {"interval_seconds": 20},
    {"interval_seconds": 10},
    {"interval_seconds": 10},
    {"cron_expression": "*/2 * * * *", "timezone": "Asia/Kolkata"},
    {"interval_seconds": 5},
    {"interval_seconds": 2},
    {"interval_seconds": 1},
)
DATABASE_RETURNS_SECONDS = 60.0
# An agent that answers in a millisecond is never met by a kill in the middle of a delivery.
AGENTS_THINK_SECONDS = 0.2


class Agents:
    """Two processes, each an async and a sync agent: one dedupes by key, the other does not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.running = [(self._start("dedupes", "--dedupe"), True), (self._start("plain"), False)]

    def _start(self, name: str, *options: str) -> RunningAgent:
        return start_agent(self._folder, *options, name=name)

    def restart_one(self, which: int, away_seconds: float) -> None:
        """SIGKILL, and the same again on the same port after a moment."""
        old, dedupes = self.running[which]
        old.process.kill()
        old.process.wait()
        old.stop()
        time.sleep(away_seconds)
        port = old.url.rpartition(":")[2]
        options = ["--dedupe"] if dedupes else []
        self.running[which] = (
            self._start(old.log_path.stem, *options, "--port", port),
            dedupes,
        )

    def stop(self) -> None:
        """End both."""
        for agent, _ in self.running:
            agent.stop()


class OwnDatabase:
    """A PostgreSQL that the scenario holds in its hand, instead of the house's own."""

    def __init__(
        self, directory: Path, *, log: Path, options: Mapping[str, str] | None = None
    ) -> None:
        self.server = EmbeddedPostgres(directory, log=log, options=options)
        self.url = self.server.start()

    def bring_back(self) -> None:
        """Start it if it is down. Errors: StartupError when it does not come back."""
        deadline = time.monotonic() + DATABASE_RETURNS_SECONDS
        while not self._answers():
            with suppress(StartupError):
                self.server.start()
            if time.monotonic() > deadline:
                raise StartupError(f"PostgreSQL did not come back; see {self.server.log}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True


@dataclass
class Stage:
    """A running house with its agents and schedules."""

    folder: Path
    stack: Stack
    agents: Agents
    database: OwnDatabase | None
    chance: random.Random
    expected: list[Expected] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def home(self) -> Home:
        """Where the house writes down its processes."""
        return Home(self.stack.home)

    def database_logs(self) -> list[Path]:
        """What PostgreSQL has written, in the order of writing."""
        log = self.database.server.log if self.database else self.home.log(POSTGRES)
        return [each for each in (log.with_suffix(".log.1"), log) if each.exists()]

    def now(self) -> datetime:
        """By the database's clock, as soon as there is one."""
        return datetime.fromtimestamp(float(self.sql("select extract(epoch from now())")), UTC)

    def sql(self, query: str) -> Any:
        """One value, patiently: the database may be away."""

        def ask() -> list[Any]:
            with suppress(psycopg.Error):
                return self.stack.sql(query)
            return []

        return self.stack.wait_for(ask, timeout=180)[0][0]

    def populate(self, schedules: int, **fields: Any) -> None:
        """So many schedules, of every cadence, spread over the agents."""
        agent_ids = [
            self.stack.register(
                f"{acp_type}-{agent.log_path.stem}",
                agent.url_for(f"input-delay-{AGENTS_THINK_SECONDS:g}"),
                acp_type,
            )
            for agent, _ in self.agents.running
            for acp_type in ("async", "sync")
        ]
        for number in range(schedules):
            # The agents in turn, each with one cadence after another.
            turn, place = divmod(number, len(agent_ids))
            cadence = CADENCES[(turn + place) % len(CADENCES)]
            self._create(agent_ids[place], cadence, f"s{number:04}", fields)

    def _create(
        self, agent_id: str, cadence: Mapping[str, Any], name: str, fields: Mapping[str, Any]
    ) -> None:
        made = self.stack.create(agent_id, name=name, **cadence, **{**CATCH_UP_ALL, **fields})
        began = datetime.fromisoformat(made["created_at"])
        self.expected.append(Expected(made["id"], agent_id, began, **cadence))

    def warm_up(self) -> None:
        """Until fires reach the agents: what is broken from then on was working."""
        self.stack.wait_for(
            lambda: all(agent.received() for agent, _ in self.agents.running), timeout=180
        )

    def drain(self, until: datetime, timeout: float) -> bool:
        """Wait until everything due by then has come to its end; False when it has not in time."""
        owing = (
            "select (select count(*) from fires where finished_at is null "
            f"and due_at <= '{until.isoformat()}') + (select count(*) from schedule_clock "
            f"where next_due_at <= '{until.isoformat()}')"
        )
        with suppress(TimeoutError):
            self.stack.wait_for(lambda: self.sql(owing) == 0, timeout)
            return True
        return False


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What is started meanwhile finds these in its environment."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


@contextmanager
def stage(
    folder: Path,
    chance: random.Random,
    *,
    database: Callable[[], OwnDatabase] | None = None,
    variables: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[Stage]:
    """Everything up, on a database of the caller's if one is given."""
    with ExitStack() as stack:
        own = None
        if database is not None:
            own = database()
            stack.callback(own.server.stop)
            settings["database_url"] = own.url
        agents = Agents(folder)
        stack.callback(agents.stop)
        house = stack.enter_context(start_stack(folder, variables=variables, **settings))
        yield Stage(folder, house, agents, own, chance)
