"""The run parent: imports everything a run needs, once, and forks a process for each run.

    python -m schedules_pipeline.launcher.parent SOCKET

A fork copies one thread and every open file. So this process has one thread, no connection to
anything, and nothing of a run's in its memory; it makes sure of that before it serves. It does not
understand what it is asked (the forked process does), so no request can harm it. What it knows is
which process works what, so that it can have a death reported at once.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from schedules_pipeline.errors import StartupError
from schedules_pipeline.launcher.handover import LONGEST_LINE
from schedules_pipeline.launcher.importing import Sources, import_everything

LOOK_SECONDS = 2.0
# To say what is wanted. Whoever connects says it at once.
PATIENCE_SECONDS = 5.0
MOST_CONNECTIONS = 64


@dataclass(frozen=True)
class Asking:
    """A connection on which a request is still being read."""

    connection: socket.socket
    until: float
    heard: bytearray = field(default_factory=bytearray)


class RunParent:
    """Serves one socket, in one thread, until it is killed or its code changes."""

    def __init__(
        self,
        listener: socket.socket,
        is_stale: Callable[[], bool],
        fork: Callable[[], int] = os.fork,
    ) -> None:
        self._listener = listener
        self._is_stale = is_stale
        self._fork = fork
        self._asking: dict[socket.socket, Asking] = {}
        # What each forked process was asked, by pid; None when it only reports a death.
        self._forked: dict[int, str | None] = {}
        self._unreported: list[tuple[str, int, int]] = []
        self._woken, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Returns when the code has changed."""
        self._wake_when_a_process_ends()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._collect)
        while not self._is_stale():
            for key, _ in self._selector.select(LOOK_SECONDS):
                key.data()
            self._drop_the_slow()
            self._report_deaths()

    def _wake_when_a_process_ends(self) -> None:
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        # It does nothing, but only a signal with a handler wakes.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # Those that the same process forked before its code changed.
        self._collect()

    def _accept(self) -> None:
        # Whoever knocked may be gone again.
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            if len(self._asking) >= MOST_CONNECTIONS:
                self._drop(min(self._asking.values(), key=lambda each: each.until))
            asking = Asking(connection, time.monotonic() + PATIENCE_SECONDS)
            self._asking[connection] = asking
            self._selector.register(connection, selectors.EVENT_READ, partial(self._read, asking))

    def _read(self, asking: Asking) -> None:
        if asking.connection not in self._asking:
            return  # dropped by an event of the same moment
        try:
            heard = asking.connection.recv(LONGEST_LINE)
        except OSError:
            heard = b""
        asking.heard.extend(heard)
        line, end_of_line, _ = asking.heard.partition(b"\n")
        if end_of_line:
            self._start(asking.connection, line.decode(errors="replace"))
        if end_of_line or not heard or len(asking.heard) > LONGEST_LINE:
            self._drop(asking)

    def _drop(self, asking: Asking) -> None:
        self._selector.unregister(asking.connection)
        del self._asking[asking.connection]
        asking.connection.close()

    def _drop_the_slow(self) -> None:
        now = time.monotonic()
        for asking in [each for each in self._asking.values() if each.until < now]:
            self._drop(asking)

    def _start(self, connection: socket.socket, line: str) -> None:
        if self._is_stale():
            _refuse(connection, "the run parent is about to load code that has changed")
            return
        from schedules_pipeline.launcher import working  # long since imported, see `main`

        try:
            pid = self._fork_to(partial(working.work, connection, line), keep=connection)
        except OSError as error:
            _refuse(connection, f"the machine refuses to fork ({error.strerror})")
            return
        self._forked[pid] = line

    def _collect(self) -> None:
        """Take leave of the processes that ended."""
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                self._take_leave(ended[0], os.waitstatus_to_exitcode(ended[1]))

    def _take_leave(self, pid: int, exit_code: int) -> None:
        line = self._forked.pop(pid, None)
        if line is not None and exit_code != 0:
            say(f"process {pid} ended with {exit_code}")
            self._unreported.append((line, pid, exit_code))

    def _report_deaths(self) -> None:
        """In processes of their own, since it takes a connection. Refused a fork, later."""
        from schedules_pipeline.launcher import working

        while self._unreported:
            try:
                pid = self._fork_to(partial(working.report_death, *self._unreported[0]))
            except OSError:
                return
            self._forked[pid] = None
            del self._unreported[0]

    def _fork_to(self, work: Callable[[], None], keep: socket.socket | None = None) -> int:
        """Returns the pid, in the parent alone. Errors: OSError when the machine refuses."""
        pid = self._fork()
        if pid == 0:
            self._become(work, keep)
        return pid

    def _become(self, work: Callable[[], None], keep: socket.socket | None) -> NoReturn:
        exit_code = 1
        try:
            self._forget(keep)
            work()
            exit_code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            # Not `sys.exit`: nothing of the parent's may be tidied up here.
            os._exit(exit_code)

    def _forget(self, keep: socket.socket | None) -> None:
        """Be a process of its own: nothing that is the parent's stays open or in force."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for inherited in (self._listener, self._woken, self._waker, *self._asking):
            if inherited is not keep:
                inherited.close()
        if keep:
            keep.setblocking(True)


def _refuse(connection: socket.socket, why: str) -> None:
    say(f"refused: {why}")
    with suppress(OSError):
        connection.sendall(f"{why}\n".encode())


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket for our own user alone. One that a killed parent left is replaced."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(MOST_CONNECTIONS)
        yield listener


def say(what: str) -> None:
    """One line for the log."""
    print(f"run parent {os.getpid()}: {what}", flush=True)  # noqa: T201  # its log


def main() -> NoReturn:
    """Import, make sure that a fork is safe, serve; and start anew when the code has changed."""
    if len(sys.argv) != 2:
        sys.exit("Say where to listen: python -m schedules_pipeline.launcher.parent SOCKET")
    # Before the imports, which take seconds: who asks meanwhile waits, no longer than a cold start
    # takes, and gets a fork. Of a parent that dies over them, all who wait hear at once.
    with listening(Path(sys.argv[1])) as listener:
        try:
            import_everything(listener.fileno())
        except StartupError as error:
            sys.exit(f"run parent: {error}")
        sources = Sources.of("schedules_pipeline")
        # What lives now is in every forked process: never looked at again, it is never copied.
        gc.collect()
        gc.freeze()
        say("ready")
        RunParent(listener, sources.have_changed).serve()
    say("the code has changed: starting anew")
    # The same process: what it forked stays its own, and nobody has to start it again.
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main()
