"""Starting processes, and finding what they started."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedules_pipeline.dev import launch
from schedules_pipeline.launcher.identity import HAS_PROC, PROC, Identity, identify
from schedules_pipeline.settings import child_environment


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
