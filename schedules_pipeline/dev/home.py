"""The folder of `schedules dev`: where what is, who holds it, and what runs for it."""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Self

from schedules_pipeline.dev.postgres import SOCKET_PATH_BYTES, short_directory
from schedules_pipeline.dev.processes import marked
from schedules_pipeline.errors import StartupError
from schedules_pipeline.launcher.identity import Identity

# Every process that a part starts inherits these two; they tell us later that it is ours.
HOME_MARK = "SCHEDULES_DEV_HOME"
PART_MARK = "SCHEDULES_DEV_PART"

# gRPC reads the socket's path as a URL: anything else in it would be taken apart.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]+")

_WORKSPACE = """\
# Written by `schedules dev`: webserver and daemon share one code server.
load_from:
  - grpc_server:
      socket: {socket}
      location_name: schedules_pipeline
"""


@dataclass(frozen=True)
class Record:
    """A part's process, as written down for the next `schedules dev`."""

    pid: int
    born: str
    whole_group: bool

    @property
    def identity(self) -> Identity:
        """That process, if it still is that one."""
        return Identity(self.pid, self.born)


@dataclass(frozen=True)
class Home:
    """The paths below one home."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Self:
        """Create the folders.

        Errors: StartupError when the place cannot be used.
        """
        home = cls(path.resolve())
        try:
            for folder in (home.logs, home.run, home.dagster):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(
                f"{path} cannot be used as the home ({error.strerror}): set SCHEDULES_HOME."
            ) from None
        return home

    @property
    def logs(self) -> Path:
        """One log per part."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """The lock, the records of processes, the code server's socket."""
        return self.path / "run"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.path / "dagster"

    @property
    def postgres(self) -> Path:
        """The embedded server's data."""
        return self.path / "postgres"

    @property
    def workspace(self) -> Path:
        """What webserver and daemon are told to load."""
        return self.dagster / "workspace.yaml"

    @property
    def code_socket(self) -> Path:
        """The code server's Unix socket: only we may connect, and no port is taken."""
        return self._socket("code.sock")

    @property
    def warm_socket(self) -> Path:
        """Where the run parent is asked for processes."""
        return self._socket("warm.sock")

    def _socket(self, name: str) -> Path:
        socket = self.run / name
        if len(os.fsencode(socket)) <= SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(str(socket)):
            return socket
        return short_directory(self.path) / socket.name

    def log(self, part: str) -> Path:
        """The log of one part."""
        return self.logs / f"{part}.log"

    def marks(self, part: str) -> dict[str, str]:
        """The variables that mark a process as started by this part of this home."""
        return {HOME_MARK: str(self.path), PART_MARK: part}

    def write_dagster_files(self) -> None:
        """Write DAGSTER_HOME's two files: ours, so an older one is replaced."""
        text = (files("schedules_pipeline.dev") / "dagster.yaml").read_text()
        (self.dagster / "dagster.yaml").write_text(text)
        self.workspace.write_text(_WORKSPACE.format(socket=json.dumps(str(self.code_socket))))
        if self.code_socket.parent != self.run:
            _make_private(self.code_socket.parent)

    def remove_short_directory(self) -> None:
        """Remove what was needed outside the home, if anything was."""
        if self.code_socket.parent != self.run:
            for socket in (self.code_socket, self.warm_socket):
                socket.unlink(missing_ok=True)
            with suppress(OSError):
                self.code_socket.parent.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this home alone.

        The lock is the kernel's and goes with the process, however that dies; the pid in the file
        is only for the message. Errors: StartupError when somebody else holds it.
        """
        with (self.run / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise StartupError(
                    f"`schedules dev` already runs on {self.path} (pid {file.read().strip()});"
                    " it was left alone. Stop it first, or give another --home (SCHEDULES_HOME)."
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def write_records(self, records: Mapping[str, Record]) -> None:
        """Write down which processes run for this home, all at once or not at all."""
        draft = self.run / "parts.json.new"
        draft.write_text(json.dumps({name: asdict(record) for name, record in records.items()}))
        draft.replace(self.run / "parts.json")

    def read_records(self) -> dict[str, Record]:
        """What was written down last; nothing when that cannot be read."""
        try:
            raw = json.loads((self.run / "parts.json").read_text())
            return {name: Record(**record) for name, record in raw.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def processes(self, part: str | None = None) -> list[Identity]:
        """Every live process that carries this home's mark (and this part's). Linux only."""
        ours = set(marked(HOME_MARK, str(self.path)))
        return list(ours & set(marked(PART_MARK, part)) if part else ours)


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    # Below /tmp anybody may have made it before us, to listen in on our socket.
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StartupError(f"{directory} belongs to someone else or is open to others.")
