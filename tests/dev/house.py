"""A house of light parts for the supervisor's tests: real processes, real ports, real PostgreSQL.

    python -m tests.dev.house HOME API_PORT UI_PORT [part …]

Parts: `api` (a web server), `daemon`, `code server` and `run parent` (each with one long Dagster
run, started or forked), `stubborn` (bears every signal that can be borne), `broken` (dies at once).
The books are a file, HOME/landed.jsonl; the host's clock is off by as many seconds as the file
HOME/host-clock says.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from schedules_pipeline.dev import supervisor
from schedules_pipeline.dev.home import Home
from schedules_pipeline.dev.host_clock import HostClock
from schedules_pipeline.dev.parts import Part, _postgres, answers, part_environment
from schedules_pipeline.dev.ports import HOST
from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.errors import StartupError, Unavailable
from schedules_pipeline.settings import Settings

PYTHON = (sys.executable, "-S", "-u", "-c")

WAIT = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; {WAIT}"
BROKEN = "import sys; sys.exit('no \\033[31mway')"
WEB = """
import http.server, sys
class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('content-length', '0')
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Yes).serve_forever()
"""
# Interrupted, a run writes down what became of its work, which takes PostgreSQL to be there.
RUN = """
import pathlib, signal, sys, time
def leave(*_):
    alive = pathlib.Path(sys.argv[1], 'postgres', 'postmaster.pid').exists()
    pathlib.Path(sys.argv[1], 'run-ended').write_text(f'postgres {alive}')
    sys.exit(0)
signal.signal(signal.SIGINT, leave)
pathlib.Path(sys.argv[1], 'run-started').write_text('yes')
while True: time.sleep(1)
"""
CODE_SERVER = """
import pathlib, subprocess, sys
# At a run's side, as Dagster has it: it must not be taken for a run.
log = pathlib.Path(sys.argv[2], 'logs', 'code-server.log')
subprocess.Popen(['tail', '-F', '-c', '+0', str(log)], stdout=subprocess.DEVNULL)
if not pathlib.Path(sys.argv[2], 'run-started').exists():
    subprocess.Popen([sys.executable, '-S', '-c', sys.argv[1], sys.argv[2]])
import signal; signal.pause()
"""

RUN_PARENT = """
import os, pathlib, signal, sys
begun = pathlib.Path(sys.argv[2], 'run-started').exists()
if not begun and os.fork() == 0:
    os.setsid()
    program = sys.argv.pop(1)
    exec(program)
signal.pause()
"""


@dataclass(frozen=True)
class Fire:
    """A line of landed.jsonl."""

    fire_id: str
    nominal_at: datetime
    finished_at: datetime
    schedule_name: str
    agent_name: str
    state: str
    reason: str | None
    lateness_seconds: float | None


class FileBooks:
    """Books that need PostgreSQL as much as the real ones do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def prepare(self, agent_urls: dict[str, str]) -> None:
        assert not agent_urls
        if (self._settings.home / "refuse").exists():
            raise StartupError("The tables are of a later version.")

    def landed_fires(self, since: datetime) -> Sequence[Fire]:
        try:
            psycopg.connect(self._settings.database_url or "", connect_timeout=2).close()
        except psycopg.OperationalError as error:
            raise Unavailable(str(error)) from error
        file = self._settings.home / "landed.jsonl"
        if not file.exists():
            return []
        return [
            Fire(nominal_at=since, finished_at=since + timedelta(seconds=9), **json.loads(line))
            for line in file.read_text().splitlines()
        ]

    def close(self) -> None:
        pass


def light_parts(
    settings: Settings, home: Home, postgres: EmbeddedPostgres | None, _ports: dict[str, int]
) -> list[Part]:
    """The parts that the command line names, and PostgreSQL."""

    def part(name: str, *command: str) -> Part:
        return Part(
            name=name,
            command=(*PYTHON, *command),
            environment=part_environment(settings, home, name),
            is_ready=lambda _pid: True,
        )

    assert postgres is not None
    port = settings.api_port
    known = {
        "api": replace(part("api", WEB, str(port)), is_ready=lambda _pid: answers(HOST, port, "/")),
        "daemon": part("daemon", WAIT),
        "stubborn": part("stubborn", STUBBORN),
        "broken": part("broken", BROKEN),
        "code server": replace(
            part("code server", CODE_SERVER, RUN, str(home.path)), whole_group=False
        ),
        "run parent": replace(
            part("run parent", RUN_PARENT, RUN, str(home.path)), whole_group=False
        ),
    }
    return [_postgres(postgres), *(known[name] for name in sys.argv[4:])]


def time_of_day() -> float:
    file = Path(sys.argv[1], "host-clock")
    return time.time() + (float(file.read_text()) if file.exists() else 0)


if __name__ == "__main__":
    home, api_port, ui_port = sys.argv[1:4]
    supervisor.HostClock = lambda: HostClock(time_of_day)  # type: ignore[attr-defined, misc, assignment]
    try:
        supervisor.run(
            Settings(
                home=Path(home),
                api_port=int(api_port),
                ui_port=int(ui_port),
                demo=False,
                database_url=None,
                dagster_url=None,
            ),
            parts_of=light_parts,
            open_books=FileBooks,
        )
    except StartupError as error:
        sys.exit(f"schedules: {error}")
