"""How many fires a second one process can deliver: two calls each, to an agent in another process.

python -m bench delivery [--fires 5000] [--in-flight 64]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

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
    """Print one line per kind of agent and round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fires", type=int, default=5_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for acp_type in [AcpType.ASYNC, AcpType.SYNC] * options.rounds:
        with tempfile.TemporaryDirectory() as directory, start_agent(Path(directory)) as agent:
            begun, used = time.perf_counter(), time.process_time()
            took = asyncio.run(deliver(agent.url, acp_type, options.fires, options.in_flight))
            seconds, used = time.perf_counter() - begun, time.process_time() - used
            received = len({(r["method"], r["task_id"]) for r in agent.received()})
        took.sort()
        print(
            f"{acp_type.value}: {options.fires / seconds:.0f} fires/s "
            f"({options.in_flight} in flight), {1e3 * used / options.fires:.2f} ms CPU per fire, "
            f"p50 {1e3 * took[len(took) // 2]:.0f} ms, p99 {1e3 * took[len(took) * 99 // 100]:.0f} "
            f"ms per fire; the agent received {received} requests"
        )


if __name__ == "__main__":
    main()
