"""Prefect 3: its server schedules, a runner starts a process for each flow run."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.peers.work import Order, deliver, run, the_order

AT_ONCE = 8
"""Flow runs, each a process of its own."""


def _port(folder: Path) -> int:
    """Chosen once: the server comes back where it was."""
    file = folder / "port"
    if not file.exists():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            file.write_text(str(probe.getsockname()[1]))
    return int(file.read_text())


def _environment(order: Order) -> dict[str, str]:
    return {
        "PREFECT_HOME": order.folder,
        "PREFECT_API_URL": f"http://127.0.0.1:{_port(Path(order.folder))}/api",
        # Its own SQLite file: on PostgreSQL it wants pg_trgm, which the embedded server has not.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
    }


if __name__ == "__main__":
    # Read when it is imported; a flow run's process has them from its runner.
    os.environ |= _environment(the_order())

from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.runner import Runner
from prefect.states import Scheduled


@flow(name="fire", log_prints=False)
async def fire(schedule: str) -> None:
    """One fire."""
    at = runtime.flow_run.scheduled_start_time
    await deliver(schedule, 0 if schedule.startswith("trigger") else at.timestamp())


def _server(order: Order) -> None:
    port = str(_port(Path(order.folder)))
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", port, "--no-ui"]
    process = subprocess.Popen([str(Path(sys.executable).with_name(command[0])), *command[1:]])
    while not _healthy(os.environ["PREFECT_API_URL"]):
        time.sleep(0.2)
    order.ready()
    process.wait()


def _healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


async def _serve(order: Order) -> None:
    # The flow as its own process will find it: by file, not as __main__.
    from bench.peers.on_prefect import fire as the_flow

    runner = Runner(query_seconds=1, limit=AT_ONCE, pause_on_shutdown=False)
    deployment = await the_flow.ato_deployment("fire", schedules=_schedules(order))
    deployment_id = await runner.aadd_deployment(deployment)
    asked = Path(order.folder) / "asked"
    async with get_client() as client:
        if order.kind == "once" and not asked.exists():
            at = Scheduled(scheduled_time=datetime.fromtimestamp(order.first, UTC))
            for name, _ in order.schedules():
                await client.create_flow_run_from_deployment(
                    deployment_id, parameters={"schedule": name}, state=at
                )
            asked.touch()
        loop = asyncio.get_running_loop()
        order.on_trigger(
            lambda name: asyncio.run_coroutine_threadsafe(
                client.create_flow_run_from_deployment(
                    deployment_id, parameters={"schedule": name}
                ),
                loop,
            )
        )
        order.ready()
        await runner.start()


def _schedules(order: Order) -> list[DeploymentScheduleCreate]:
    return [
        DeploymentScheduleCreate(
            schedule=IntervalSchedule(
                interval=timedelta(seconds=order.every),
                anchor_date=datetime.fromtimestamp(first, UTC),
            ),
            slug=name,
            parameters={"schedule": name},
        )
        for name, first in order.schedules()
        if order.kind == "every"
    ]


if __name__ == "__main__":
    run(
        {
            "prepare": lambda _: None,
            "server": _server,
            "serve": lambda order: asyncio.run(_serve(order)),
        }
    )
