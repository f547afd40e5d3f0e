"""How many fires a second one process can deliver: two calls each, to an agent in another process.

python -m bench delivery [--fires 5000] [--in-flight 64]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.report import lateness, publish
from schedules_pipeline.delivery.acp import Timeouts
from schedules_pipeline.delivery.local import LocalPlatform
from schedules_pipeline.domain.schedule import AcpType
from tests.agents import start_agent
from tests.delivery.factories import NoTasks, make_assignment


async def deliver(acp_url: str, acp_type: AcpType, fires: int, in_flight: int) -> list[float]:
    """Deliver them; returns how long each took, in seconds, waiting for its turn not counted."""
    platform, places = LocalPlatform(Timeouts(), NoTasks()), asyncio.Semaphore(in_flight)

    async def fire(number: int) -> float:
        async with places:
            begun = time.perf_counter()
            assignment = make_assignment(acp_url, acp_type, number=number)
            await platform.create_task(assignment)
            await platform.send_input(assignment)
            return time.perf_counter() - begun

    try:
        return await asyncio.gather(*(fire(number) for number in range(fires)))
    finally:
        await platform.aclose()


def main() -> None:
    """A row per kind of agent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fires", type=int, default=5_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    acp_types = (AcpType.ASYNC, AcpType.SYNC)
    rounds: dict[AcpType, list[dict[str, float]]] = {kind: [] for kind in acp_types}
    for _ in range(options.rounds):  # the kinds take turns: what else is done meets both alike
        for kind in acp_types:
            rounds[kind].append(_round(kind, options.fires, options.in_flight))
    publish(
        "The HTTP side alone",
        [{"agent": kind.value, **_medians(found)} for kind, found in rounds.items()],
        f"{options.fires} fires, two calls each, {options.in_flight} in flight; medians of "
        f"{options.rounds} rounds.",
    )


def _round(acp_type: AcpType, fires: int, in_flight: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory, start_agent(Path(directory)) as agent:
        begun, used = time.perf_counter(), time.process_time()
        took = asyncio.run(deliver(agent.url, acp_type, fires, in_flight))
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        received = len({(r["method"], r["task_id"]) for r in agent.received()})
    return {
        "fires/s": fires / seconds,
        "CPU ms per fire": 1e3 * used / fires,
        **lateness(took),
        "requests received": received,
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(each[name] for each in rounds), 2) for name in rounds[0]}
