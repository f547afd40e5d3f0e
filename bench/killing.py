"""Who is killed, and what the ledger says of it afterwards."""

import os
import signal

from tests.stack import Stack


def kill_present_run(stack: Stack) -> int:
    """SIGKILL the run of the present minute, once there is one. Returns the pid it had."""
    query = (
        "select pid from dispatches join slices using (slice_key) where finished_at is null "
        "and kind <> 'now' and statement_timestamp() between starts_at and ends_at"
    )
    pid: int = stack.wait_for(lambda: stack.sql(query))[0][0]
    os.kill(pid, signal.SIGKILL)
    return pid


def kill_run_and_daemon(stack: Stack) -> int:
    """The run, and the clock that would have seen its end. Returns the run's pid."""
    stack.kill("daemon")
    return kill_present_run(stack)


def kill_run_and_parent(stack: Stack) -> int:
    """The run, and before it the parent that would have told its end. Returns the run's pid."""
    stack.kill("run parent")
    return kill_present_run(stack)


def marked(stack: Stack) -> set[str]:
    """The fires of which the ledger says that their agents may have two inputs."""
    return {fire for (fire,) in stack.sql("select id from fires where possible_duplicate")}
