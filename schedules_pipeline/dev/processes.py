"""Starting processes, and knowing them again later without ever taking another's pid for ours."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schedules_pipeline.dev import launch
from schedules_pipeline.settings import child_environment

PROC = Path("/proc")
HAS_PROC = (PROC / "self" / "stat").exists()


@dataclass(frozen=True)
class Identity:
    """A process, told apart from a later one that was given the same pid."""

    pid: int
    born: str

    def is_alive(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        return born(self.pid) == self.born

    def kill(self, number: signal.Signals, *, group: bool = False) -> bool:
        """Signal it (or the group it leads) if it still is that process.

        Between the look and the signal the pid could be reused; that takes a whole round of the
        pid space within microseconds.
        """
        if not self.is_alive():
            return False
        with suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        return True


@dataclass(frozen=True)
class User:
    """Whom a process runs as, when not as ourselves."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    death_signal: signal.Signals | None = None,
    user: User | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to `log`.

    `death_signal` reaches it when the *thread* that called this ends (Linux only), so call it from
    the main thread.
    """
    wanted = {
        "command": list(command),
        "death_signal": death_signal.value if death_signal else 0,
        "parent": os.getpid(),
        "user": user.uid if user else None,
        "group": user.gid if user else None,
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, json.dumps(wanted)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else child_environment(),
            cwd=cwd,
            start_new_session=True,
        )


def identify(pid: int) -> Identity | None:
    """The process that has this pid now."""
    at = born(pid)
    return Identity(pid, at) if at else None


def born(pid: int) -> str | None:
    """When a live process began, in words that no other process with this pid can have."""
    if not HAS_PROC:
        return _born_by_ps(pid)
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets, and may itself hold blanks and brackets.
    fields = stat.rpartition(")")[2].split()
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{_boot()}/{ticks}"


def _born_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return answer[1].strip() if len(answer) == 2 and not answer[0].startswith("Z") else None


def _boot() -> str:
    # Ticks count from the machine's start: after a reboot they come again.
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def marked(variable: str, value: str) -> Iterator[Identity]:
    """Every live process whose environment says `variable=value`: what our parts started.

    Linux only, elsewhere none. Processes of other users are passed over.
    """
    if not HAS_PROC:
        return
    wanted = f"{variable}={value}".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and (found := identify(int(entry.name))):
            yield found


def wait_until_gone(processes: Sequence[Identity], seconds: float) -> list[Identity]:
    """Wait for them to end; answers with those that did not."""
    until = time.monotonic() + seconds
    left = [process for process in processes if process.is_alive()]
    while left and time.monotonic() < until:
        time.sleep(0.02)
        left = [process for process in left if process.is_alive()]
    return left


def describe_exit(code: int) -> str:
    """An exit code, in words: `exit code 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
