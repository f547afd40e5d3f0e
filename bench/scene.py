"""The stage of the benches: the whole house and an agent, each in processes of its own."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.agents import RunningAgent, start_agent
from tests.stack import Stack, start_stack


@contextmanager
def scene(**settings: Any) -> Iterator[tuple[Stack, RunningAgent]]:
    """Everything in a temporary folder; nothing is left of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="schedules-bench-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        with start_agent(folder) as agent, start_stack(folder, **settings) as stack:
            yield stack, agent


def inputs(agent: RunningAgent) -> list[dict[str, Any]]:
    """What the agent received: at, due (seconds since the epoch), fire, schedule."""
    return [
        {
            "at": request["at"],
            "due": datetime.fromisoformat(request["task_metadata"]["fire_time"]).timestamp(),
            "fire": request["idempotency_key"],
            "schedule": request["task_metadata"]["schedule_id"],
        }
        for request in agent.received("event/send")
    ]


def sleep_until(stack: Stack, instant: float) -> None:
    """By the database's clock."""
    while (left := instant - stack.database_time()) > 0:
        time.sleep(min(left, 5))


def next_minute(stack: Stack, *, ahead: float) -> float:
    """The first full minute at least `ahead` seconds from now."""
    return ((stack.database_time() + ahead) // 60 + 1) * 60
