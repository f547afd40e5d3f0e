"""How late is an input at the agent? The whole house at work, nobody watching.

python -m bench lateness
"""

from bench.report import lateness, publish
from bench.scene import inputs, next_minute, scene, sleep_until

CASES = (
    # (schedules, seconds between fires, instants, budget p50 ms, budget p99 ms)
    (20, 10, 12, 40, 150),
    (5, 5, 24, 40, 150),
)


def main() -> None:
    """Run every case, one after another, on one house."""
    rows = []
    with scene() as (stack, agent):
        for number, (schedules, seconds, instants, p50, p99) in enumerate(CASES):
            agent_id = stack.register(f"case-{number}", agent.url)
            begin = next_minute(stack, ahead=60)
            begin_text = _iso(begin)
            made = [
                stack.create(
                    agent_id,
                    name=f"s{each}",
                    interval_seconds=seconds,
                    start_at=begin_text,
                    end_at=_iso(begin + seconds * (instants - 1)),
                )["id"]
                for each in range(schedules)
            ]
            sleep_until(stack, begin + seconds * instants + 5)
            found = [i for i in inputs(agent) if i["schedule"] in made]
            fires = {i["fire"] for i in found}
            measured = lateness([i["at"] - i["due"] for i in found])
            rows.append(
                {
                    "case": f"{schedules} fires at one instant, every {seconds} s",
                    "fires": schedules * instants,
                    "lost": schedules * instants - len(fires),
                    "doubled": len(found) - len(fires),
                    **measured,
                    "budget p50/p99": f"{p50} / {p99}",
                    "p99 / budget": round(measured["p99_ms"] / p99, 2),
                }
            )
    publish(
        "Lateness at the agent",
        rows,
        "Arrival of the input at the agent minus the nominal time; two HTTP calls per fire. "
        "Each minute begins while the next minute's Dagster run starts 30 s later.",
    )


def _iso(epoch: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC).isoformat()


if __name__ == "__main__":
    main()
