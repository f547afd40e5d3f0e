"""Knowing a process again later, without ever taking another's pid for its own."""

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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
