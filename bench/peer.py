"""A peer at work: in an environment and processes of its own (`bench/peers/`)."""

import itertools
import json
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.contenders import Wanted
from bench.environments import ROOT, Environment, Unavailable, environment
from bench.peers.work import Order
from bench.scene import workplace
from bench.usage import descendants
from schedules_pipeline.dev.databases import ensure_database
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.dev.processes import spawn
from schedules_pipeline.settings import child_environment
from tests.agents import RunningAgent, start_agent

READY_SECONDS = 90.0
PREPARE_SECONDS = 600.0


@dataclass(frozen=True)
class Peer:
    """One of them.

    `store`: what it keeps its schedules in (`own`: its parts see to that). `parts`: its processes,
    the last of which takes what is triggered by hand. `starts`: seconds until it is up, `creates`:
    schedules a second; rather too cautious: the first instant lies behind both. `rate`, `rounds`:
    see `bench.contenders.Contender`.
    """

    name: str
    title: str
    set_up: str
    store: str
    parts: tuple[str, ...]
    starts: float
    creates: float
    largest: int
    patience: float
    rate: float
    rounds: int = 1_000
    package: str = ""
    fastest: float = 1_000

    def ahead(self, number: int) -> float:
        """See `bench.contenders.Contender`."""
        return self.starts + number / self.creates

    def version(self) -> str:
        """Errors: Unavailable when it cannot run here."""
        found = environment(self.name)
        self.check(found)
        return found.version(self.package or self.name)

    def check(self, place: Environment) -> None:
        """Errors: Unavailable when a program is missing."""
        if self.store in PROGRAMS:
            place.program(PROGRAMS[self.store])

    @contextmanager
    def up(self) -> Iterator["PeersPlace"]:
        """With a PostgreSQL of its own, if it uses one. Errors: Unavailable."""
        with workplace() as folder, start_agent(folder) as agent, ExitStack() as closing:
            server = None
            if self.store == "postgres":
                server = EmbeddedPostgres(folder / "postgres")
                server.start()
                closing.callback(server.stop)
            yield PeersPlace(self, environment(self.name), folder, agent, server)


PROGRAMS = {"redis": "redis-server", "temporal": "temporal"}


class PeersPlace:
    """Every time at work with an empty store."""

    def __init__(
        self,
        peer: Peer,
        installed: Environment,
        folder: Path,
        agent: RunningAgent,
        server: EmbeddedPostgres | None,
    ) -> None:
        self.agent = agent
        self._peer, self._installed, self._folder, self._server = peer, installed, folder, server
        self._numbers = itertools.count(1)

    @contextmanager
    def at_work(self, wanted: Wanted) -> Iterator["PeersWork"]:
        """See `bench.contenders`. On a busy machine it may not be up in time: then once more."""
        with ExitStack() as closing:
            for patience in (1, 2, 4):
                trial = closing.enter_context(self._trial(wanted, patience))
                if trial.in_time():
                    yield trial
                    return
                closing.close()
        raise Unavailable(f"{wanted.number} schedules took longer than was thought")

    @contextmanager
    def _trial(self, wanted: Wanted, patience: int) -> Iterator["PeersWork"]:
        folder = self._folder / f"work-{next(self._numbers)}"
        folder.mkdir()
        folder.chmod(0o755)
        os.mkfifo(folder / "triggers")
        with ExitStack() as closing:
            processes = _Processes(folder)
            closing.callback(processes.end)
            url, stores = self._store(folder, processes)
            order = Order(
                **{name: getattr(wanted, name) for name in ("kind", "number", "every", "spread")},
                first=self._first(wanted, patience),
                store_url=url,
                folder=str(folder),
            )
            work = PeersWork(self._peer, self._installed, order, wanted, self.agent, processes)
            work.stores = stores
            work.begin()
            yield work

    def _first(self, wanted: Wanted, patience: int) -> int:
        ahead = patience * self._peer.ahead(wanted.number)
        return math.ceil((time.time() + ahead) / wanted.every) * wanted.every

    def _store(self, folder: Path, processes: "_Processes") -> tuple[str, list[int]]:
        """Its URL, and the process behind it."""
        if self._server:
            url = self._server.url_of(folder.name.replace("-", "_"))
            ensure_database(url)
            running = self._server.running()
            assert running
            return url, [running.pid]
        if self._peer.store not in PROGRAMS:
            return "", []
        program = self._installed.program(PROGRAMS[self._peer.store])
        if self._peer.store == "redis":
            path = folder / "redis.sock"
            listen = ["--port", "0", "--unixsocket", str(path), "--appendonly", "yes"]
            command = [program, *listen, "--dir", str(folder)]
            process = processes.start("store", command, {})
            _wait_until(path.exists, process, folder)
            return f"redis+socket://{path}", [process.pid]
        port = _free_port()
        listen = ["--ip", "127.0.0.1", "--port", str(port), "--headless"]
        file = ["--db-filename", str(folder / "temporal.db"), "--log-level", "error"]
        process = processes.start("store", [program, "server", "start-dev", *listen, *file], {})
        _wait_until(lambda: _listens(port), process, folder)
        return f"127.0.0.1:{port}", [process.pid]


class PeersWork:
    """A peer with an order."""

    def __init__(
        self,
        peer: Peer,
        installed: Environment,
        order: Order,
        wanted: Wanted,
        agent: RunningAgent,
        processes: "_Processes",
    ) -> None:
        self.instants = wanted.instants(order.first)
        self.stores: list[int] = []
        self._peer, self._installed, self._order, self._agent = peer, installed, order, agent
        self._processes = processes
        self._running: list[subprocess.Popen[bytes]] = []
        self._folder = Path(order.folder)
        self._file = self._folder / "order.json"
        self._triggers = os.open(self._folder / "triggers", os.O_RDWR)  # never waits for a reader
        self._numbers = itertools.count(1)

    def begin(self) -> None:
        """Make its schedules, start it. Errors: Unavailable."""
        self._file.write_text(json.dumps(asdict(self._order)))
        prepared = self._start("prepare")
        try:
            failed = prepared.wait(PREPARE_SECONDS)
        except subprocess.TimeoutExpired:
            failed = -1
        if failed:
            raise Unavailable(f"it could not be prepared: {_tail(self._folder, 'prepare')}")
        self._start_parts()

    def in_time(self) -> bool:
        """Whether it was up before anything was due."""
        return self._order.kind == "trigger" or time.time() < self._order.first - 1

    def roots(self) -> Sequence[int]:
        """Its processes and its store."""
        return [*self.stores, *(each.pid for each in self._running)]

    def trigger(self) -> str:
        """By its own means, in the process that would hold a client of it."""
        name = f"trigger-{next(self._numbers)}"
        os.write(self._triggers, f"{name}\n".encode())
        return f"{name}@0"

    def crash(self) -> None:
        """Its parts at once, its store not."""
        _kill([each.pid for each in self._running])
        for process in self._running:
            process.wait()
        for part in self._peer.parts:
            (self._folder / f"{part}.ready").unlink()
        self._start_parts()

    def database_bytes(self) -> int | None:
        """The size of its database in PostgreSQL."""
        if self._peer.store != "postgres":
            return None
        with psycopg.connect(self._order.store_url) as connection:
            row = connection.execute("select pg_database_size(current_database())").fetchone()
        assert row
        return int(row[0])

    def _start_parts(self) -> None:
        self._running = []
        for part in self._peer.parts:
            process = self._start(part)
            self._running.append(process)
            ready = self._folder / f"{part}.ready"
            _wait_until(ready.exists, process, self._folder, part)

    def _start(self, part: str) -> subprocess.Popen[bytes]:
        module = f"bench.peers.on_{self._peer.name}"
        command = [self._installed.python, "-m", module, part, str(self._file)]
        variables = {"BENCH_AGENT_URL": self._agent.url, "BENCH_ORDER": str(self._file)}
        return self._processes.start(part, command, variables)


class _Processes:
    """All that were started for one time at work."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: list[subprocess.Popen[bytes]] = []

    def start(
        self, name: str, command: Sequence[str], variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """In a session of its own, its output in `<name>.log`."""
        found = spawn(
            command,
            log=self._folder / f"{name}.log",
            environment=child_environment(**variables),
            death_signal=signal.SIGKILL,
            cwd=ROOT,
        )
        self._all.append(found)
        return found

    def end(self) -> None:
        """None of them is left, nor what they started."""
        _kill([each.pid for each in self._all if each.poll() is None])
        for process in self._all:
            process.wait()


def _kill(pids: list[int]) -> None:
    """They and all below them, wherever these have gone: first seen, then killed."""
    for pid in descendants(*pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _wait_until(
    there: Any, process: subprocess.Popen[bytes], folder: Path, part: str = "store"
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not there():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"its {part} did not start: {_tail(folder, part)}")
        time.sleep(0.05)


def _tail(folder: Path, part: str) -> str:
    lines = (folder / f"{part}.log").read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
