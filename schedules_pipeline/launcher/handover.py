"""How a run is handed over, on one connection between its launcher and the process that is forked.

    launcher ► parent     a line: what to run, in Dagster's own words
    process  ► launcher   a line: who it is (the parent only forked it)
    launcher ► process    `go`, once the run's tags say who works it

Up to `go` the process has done nothing, and leaves when the connection ends. So whatever goes wrong
before, the launcher may start the run in another way, and no run is ever worked twice. After `go`
the run belongs to the process that its tag names, and to nobody else.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from schedules_pipeline.errors import NoWarmProcess
from schedules_pipeline.launcher.identity import Identity, identify

# Hidden in the Dagster UI. A run that is executed again inherits its parent's tags, so the value
# names the run that it is about.
WORKER_TAG = ".dagster/schedules_worker"
GO = b"go\n"
LONGEST_LINE = 65_536
# Ten processes forked at once on two cores answer within half of it.
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Worker:
    """The process that works one run."""

    run_id: str
    host: str
    identity: Identity

    @classmethod
    def myself(cls, run_id: str) -> Self:
        """This process."""
        identity = identify(os.getpid())
        assert identity is not None
        return cls(run_id, socket.gethostname(), identity)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reverse of `text`. Errors: ValueError when it is none."""
        try:
            found = json.loads(text)
            return cls(str(found["run_id"]), str(found["host"]), Identity(**found["identity"]))
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"not a worker: {text[:200]!r}") from None

    def text(self) -> str:
        """In one line."""
        return json.dumps(asdict(self))

    @property
    def is_elsewhere(self) -> bool:
        """Whether it runs on another machine, where nothing can be seen or done from here."""
        return self.host != socket.gethostname()


class Handover:
    """The launcher's end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def ask(self, what: str) -> Worker:
        """Who would work this.

        Errors: NoWarmProcess when nobody would.
        """
        try:
            self._connection.sendall(what.encode() + b"\n")
            answer = read_line(self._connection)
        except OSError as error:
            raise NoWarmProcess(f"the run parent gives no answer ({error})") from None
        try:
            return Worker.parse(answer)
        except ValueError:
            raise NoWarmProcess(answer.strip() or "the process that was forked is gone") from None

    def go(self) -> None:
        """Let it begin. Errors: OSError when it is dead; then the run is over, too."""
        self._connection.sendall(GO)


@contextmanager
def handover(path: Path) -> Iterator[Handover]:
    """Connect to the run parent that listens there.

    Errors: NoWarmProcess when none does.
    """
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(os.fspath(path))
        except OSError as error:
            raise NoWarmProcess(f"no run parent listens at {path} ({error.strerror})") from None
        yield Handover(connection)


def read_line(connection: socket.socket) -> str:
    """Up to the end of the line, or of the connection."""
    with connection.makefile("rb") as file:
        return file.readline(LONGEST_LINE).decode(errors="replace")
