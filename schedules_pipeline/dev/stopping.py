"""Stopping the house, in the order that loses nothing, within 10 seconds, down to the last process.

    daemon, webserver     so that nobody starts another Dagster run
    the Dagster runs      interrupted (at the same time, and those that came up meanwhile): they
                          stop claiming, wait for answers, write what became of it
    API, agents, code     what the runs needed
    PostgreSQL            last, since everybody writes to it
    whatever is left      anything that carries this home's mark

Each step has a few seconds; what has not ended by then is killed. A killed run costs no fire: the
ledger says what it held, and the clock emits that again.
"""

import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from schedules_pipeline.dev.home import Home, Record
from schedules_pipeline.dev.parts import CODE_SERVER, DAEMON, POSTGRES, RUN_PARENT, WEBSERVER
from schedules_pipeline.dev.processes import wait_until_gone
from schedules_pipeline.launcher.identity import PROC, Identity

# In all less than 10 s, with what looking and killing add on a busy machine.
STARTERS_SECONDS = 1.5
RUNS_SECONDS = 3.0  # after the starters' time; a run needs up to 2 s for answers, and then writes
SERVERS_SECONDS = 1.5
POSTGRES_SECONDS = 1.5
KILLED_SECONDS = 0.2

# Who starts Dagster runs, cold or warm: the runs' processes carry their mark.
RUN_STARTERS = (CODE_SERVER, RUN_PARENT)

# What a run or its code server has at its side, by the command line: Python's keeper of shared
# memory (it ignores SIGINT), and the copiers of a run's output. They end with whom they serve.
HELPERS = (b"multiprocessing.resource_tracker", b"watch_orphans.py", b"tail\0-F\0")


def _nothing() -> None:
    pass


def stop_house(
    home: Home,
    records: Mapping[str, Record],
    before_postgres: Callable[[], None] = _nothing,
) -> list[Identity]:
    """Stop these parts of this home, and every process that they started.

    Answers with what did not even end when it was killed: nothing, unless the kernel holds it.
    """
    starters = [records[name] for name in (DAEMON, WEBSERVER) if name in records]
    last = (DAEMON, WEBSERVER, POSTGRES)
    servers = [record for name, record in records.items() if name not in last]

    _terminate(starters)
    interrupted = _interrupt(runs(home, records))
    _end(starters, STARTERS_SECONDS)
    # Only now can no new one begin.
    late = [run for run in runs(home, records) if run not in interrupted]
    wait_until_gone(interrupted + _interrupt(late), RUNS_SECONDS)
    _kill_all(runs(home, records))
    _terminate(servers)
    _end(servers, SERVERS_SECONDS)
    before_postgres()
    if POSTGRES in records:
        _stop_postgres(records[POSTGRES].identity)
    _kill_all(home.processes())
    return [r.identity for r in records.values() if r.identity.is_alive()] + home.processes()


def reap(parts: Collection[int]) -> None:
    """Collect the dead among our adopted children, those that are no parts.

    A dead code server's runs become children of the supervisor. Whoever ends up with a dead child
    has to ask for its exit code, or it stays in the process table.
    """
    with suppress(ChildProcessError):
        # Only a look: the exit code of a part is for whoever watches that part.
        while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if dead.si_pid in parts:
                return
            os.waitpid(dead.si_pid, os.WNOHANG)


def runs(home: Home, records: Mapping[str, Record]) -> list[Identity]:
    """The live Dagster runs of this home: what these parts started, or those before them."""
    starters = [records[name].pid for name in RUN_STARTERS if name in records]
    return [
        process
        for name in RUN_STARTERS
        for process in home.processes(name)
        if process.pid not in starters and _is_run(process.pid)
    ]


def _terminate(parts: Iterable[Record]) -> None:
    for part in parts:
        part.identity.kill(signal.SIGTERM, group=part.whole_group)


def _interrupt(found: list[Identity]) -> list[Identity]:
    for run in found:
        run.kill(signal.SIGINT)
    return found


def _end(parts: Iterable[Record], seconds: float) -> None:
    """Wait for parts that were told to end, and kill those that do not."""
    parts = list(parts)
    for left in wait_until_gone([part.identity for part in parts], seconds):
        # A group whose leader has ended is left to the last step: its number may be taken anew.
        left.kill(signal.SIGKILL, group=any(p.identity == left and p.whole_group for p in parts))
    wait_until_gone([part.identity for part in parts], KILLED_SECONDS)


def _stop_postgres(server: Identity) -> None:
    # Fast: clients are cut off. Immediate: without a checkpoint, the next start recovers. Both
    # lose nothing. Killed, its children still have to notice.
    for number, seconds in (
        (signal.SIGINT, POSTGRES_SECONDS),
        (signal.SIGQUIT, KILLED_SECONDS),
        (signal.SIGKILL, KILLED_SECONDS),
    ):
        server.kill(number)
        if not wait_until_gone([server], seconds):
            return


def _kill_all(processes: list[Identity]) -> None:
    for process in processes:
        process.kill(signal.SIGKILL)
    wait_until_gone(processes, KILLED_SECONDS)


def _is_run(pid: int) -> bool:
    with suppress(OSError):
        command = (PROC / str(pid) / "cmdline").read_bytes()
        return not any(helper in command for helper in HELPERS)
    return False
