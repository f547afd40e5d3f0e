"""The parts of the house: how each is started, when it is ready, and how it is stopped."""

import http.client
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from schedules_pipeline.dev.databases import dagster_url
from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.ports import HOST
from schedules_pipeline.dev.postgres import EmbeddedPostgres, environment
from schedules_pipeline.dev.processes import User
from schedules_pipeline.launcher.identity import HAS_PROC
from schedules_pipeline.settings import Settings, child_environment

PROBE_SECONDS = 0.5

POSTGRES = "postgres"
CODE_SERVER = "code server"
RUN_PARENT = "run parent"
DAEMON = "daemon"
WEBSERVER = "webserver"
API = "api"
DEMO_ASYNC = "demo-async"
DEMO_SYNC = "demo-sync"
# Not a part: what has to be true of the databases before those who use them may start.
DATABASES = "databases"


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Part:
    """One process of the house, as it has to be started every time."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    # Asked with the pid while the part starts.
    is_ready: Callable[[int], bool]
    # Names of what must be ready before its first start. Later it goes its own way: every part
    # bears the loss of any other for a while.
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] = _nothing
    user: User | None = None
    # A code server's group holds Dagster runs too, which outlive it.
    whole_group: bool = True
    # Dies with a supervisor that is killed. Not so PostgreSQL: runs go on, and write to it.
    dies_with_us: bool = True
    log_name: str = ""

    @property
    def log(self) -> str:
        """The name of its log, without the ending."""
        return self.log_name or _in_a_file_name(self.name)


def _in_a_file_name(name: str) -> str:
    return name.replace(" ", "-")


def all_parts(
    settings: Settings, home: Home, postgres: EmbeddedPostgres | None, agent_ports: dict[str, int]
) -> list[Part]:
    """Every part, in the order in which their first starts are begun."""
    parts = [_postgres(postgres)] if postgres else []
    parts.append(_code_server(settings, home))
    parts += [_run_parent(settings, home)] if is_warm(settings) else []
    parts += [_agent(settings, home, name, port) for name, port in agent_ports.items()]
    parts += [_api(settings, home), _daemon(settings, home), _webserver(settings, home)]
    return parts


def is_warm(settings: Settings) -> bool:
    """Whether Dagster runs are forked: where a fork can be trusted, which is on Linux."""
    return settings.warm_runs and HAS_PROC


def part_environment(settings: Settings, home: Home, part: str) -> dict[str, str]:
    """What every part of ours is told through its environment."""
    return child_environment(
        **home.marks(part),
        DAGSTER_HOME=str(home.dagster),
        PYTHONUNBUFFERED="1",
        # glibc: one heap for all threads of a process, not up to eight per core, each of which
        # keeps what it once held. Not so of runs, where threads are at work on thousands of fires.
        **({} if part == RUN_PARENT else {"MALLOC_ARENA_MAX": "1"}),
        SCHEDULES_DATABASE_URL=settings.database_url or "",
        SCHEDULES_DAGSTER_URL=dagster_url(settings),
        SCHEDULES_HOME=str(home.path),
        SCHEDULES_API_HOST=settings.api_host,
        SCHEDULES_API_PORT=str(settings.api_port),
        SCHEDULES_UI_PORT=str(settings.ui_port),
        SCHEDULES_WARM_SOCKET=str(home.warm_socket) if is_warm(settings) else "",
    )


def _postgres(server: EmbeddedPostgres) -> Part:
    return Part(
        name=POSTGRES,
        command=tuple(server.command()),
        environment=environment(),
        is_ready=server.is_ready,
        prepare=server.prepare,
        user=server.user(),
        dies_with_us=False,
    )


def _code_server(settings: Settings, home: Home) -> Part:
    return Part(
        name=CODE_SERVER,
        command=(
            *_python("dagster", "api", "grpc"),
            *("--socket", str(home.code_socket)),
            *("--module-name", "schedules_pipeline.definitions"),
            *("--location-name", "schedules_pipeline"),
            "--empty-working-directory",
        ),
        environment=part_environment(settings, home, CODE_SERVER),
        is_ready=lambda _pid: _listens(home.code_socket),
        whole_group=False,
    )


def _run_parent(settings: Settings, home: Home) -> Part:
    # It listens before it can serve, so that who asks meanwhile waits.
    said = _SaidSinceStart(home.log(_in_a_file_name(RUN_PARENT)), b": ready\n")
    return Part(
        name=RUN_PARENT,
        command=_python("schedules_pipeline.launcher.parent", str(home.warm_socket)),
        environment=part_environment(settings, home, RUN_PARENT),
        is_ready=said,
        prepare=said.mark,
        after=(DATABASES,),
        whole_group=False,
    )


def _agent(settings: Settings, home: Home, name: str, port: int) -> Part:
    acp_type = "sync" if name == DEMO_SYNC else "async"
    return Part(
        name=name,
        command=(
            *_python("schedules_pipeline.dev.demo_agents"),
            *("--acp-type", acp_type, "--port", str(port)),
        ),
        environment=part_environment(settings, home, name),
        is_ready=lambda _pid: answers(HOST, port, "/healthz"),
    )


def _api(settings: Settings, home: Home) -> Part:
    return Part(
        name=API,
        command=_python("schedules_pipeline.cli", "serve"),
        environment=part_environment(settings, home, API),
        is_ready=lambda _pid: answers(settings.api_host, settings.api_port, "/healthz"),
        after=(DATABASES,),
    )


def _daemon(settings: Settings, home: Home) -> Part:
    # It has no port to ask; it says this once its threads run.
    said = _SaidSinceStart(home.log(DAEMON), b"following daemons")
    return Part(
        name=DAEMON,
        command=_python(
            "schedules_pipeline.launcher.daemon", "run", "--workspace", str(home.workspace)
        ),
        environment=part_environment(settings, home, DAEMON),
        is_ready=said,
        prepare=said.mark,
        # Not after the code server: both take seconds to import Dagster, on a core each. The daemon
        # asks for the code once a second until it is there.
        after=(DATABASES,),
    )


def _webserver(settings: Settings, home: Home) -> Part:
    return Part(
        name=WEBSERVER,
        command=(
            *_python("dagster_webserver", "--workspace", str(home.workspace)),
            *("--host", HOST, "--port", str(settings.ui_port)),
        ),
        environment=part_environment(settings, home, WEBSERVER),
        is_ready=lambda _pid: answers(HOST, settings.ui_port, "/server_info"),
        after=(DATABASES, CODE_SERVER),
    )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    # Not the scripts in .venv/bin: their first lines break when the folder's path is long.
    return (sys.executable, "-m", module, *arguments)


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET there is answered with a 2xx."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listens(path: Path) -> bool:
    # The code server binds its socket when the code is loaded.
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PROBE_SECONDS)
        with suppress(OSError):
            client.connect(os.fspath(path))
            return True
    return False


class _SaidSinceStart:
    """Whether a log holds this text, written since `mark()`."""

    def __init__(self, log: Path, text: bytes) -> None:
        self._log = log
        self._text = text
        self._from = 0

    def mark(self) -> None:
        """What is in the log by now does not count."""
        with suppress(OSError):
            self._from = self._log.stat().st_size

    def __call__(self, _pid: int) -> bool:
        with suppress(OSError), self._log.open("rb") as file:
            file.seek(self._from)
            return self._text in file.read(65_536)
        return False
