"""Many fires at one instant, with and without agents that never answer.

python -m bench burst
"""

import statistics
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from bench.report import publish
from bench.scene import inputs, next_minute, scene, sleep_until
from tests.stack import Stack

GOOD = 2_000
HANGING = 500
AGENTS = 10
ROUNDS = 3
MINUTES_APART = 2
BUDGET = 200


def main() -> None:
    """Three bursts alone, then three with the hanging agent's fires at the same instants."""
    with scene() as (stack, agent):
        begin = next_minute(stack, ahead=120)
        instants = [begin + 60 * MINUTES_APART * each for each in range(2 * ROUNDS)]
        good = [stack.register(f"good-{each}", agent.url) for each in range(AGENTS)]
        _create(stack, good, GOOD, instants)
        _create(
            stack, [stack.register("hanging", agent.url_for("hang"))], HANGING, instants[ROUNDS:]
        )
        assert stack.database_time() < begin - 35, "creating took too long; try again"
        sleep_until(stack, instants[-1] + 55)
        found = inputs(agent)
        rounds = [_measure(found, good_ids(stack), instant) for instant in instants]
        failed = stack.sql("select count(*) from fires where state = 'failed'")[0][0]
    rows = [_row("alone", rounds[:ROUNDS], 1.0)]
    alone = rows[0]["fires/s (median)"]
    rows.append(_row(f"beside {HANGING} that hang", rounds[ROUNDS:], alone))
    publish(
        f"A burst of {GOOD} fires at one instant",
        rows,
        f"Two HTTP calls per fire, {AGENTS} agents in one process; medians of {ROUNDS} bursts "
        f"{MINUTES_APART} min apart. fires/s: from the nominal instant to the last input. "
        f"Budget ≥ {BUDGET}/s. Fires that failed meanwhile: {failed}.",
    )


def good_ids(stack: Stack) -> set[str]:
    """The schedules of the good agents."""
    query = (
        "select s.id from agent_run_schedules s join agents a on a.id = s.agent_id "
        "where a.name like 'good-%'"
    )
    return {schedule_id for (schedule_id,) in stack.sql(query)}


def _create(stack: Stack, agents: list[str], count: int, instants: list[float]) -> None:
    moments = [datetime.fromtimestamp(instant, UTC) for instant in instants]
    minutes = ",".join(str(m.minute) for m in sorted(moments, key=lambda m: m.minute))
    end_at = moments[-1].isoformat()
    for number in range(count):
        stack.create(
            agents[number % len(agents)],
            name=f"s{number}",
            cron_expression=f"{minutes} * * * *",
            end_at=end_at,
        )


def _measure(found: list[dict[str, Any]], good: set[str], instant: float) -> dict[str, float]:
    mine = [i for i in found if i["schedule"] in good and i["due"] == instant]
    times = Counter(i["fire"] for i in mine)
    arrivals = [i["at"] - instant for i in mine]
    return {
        "first": min(arrivals),
        "last": max(arrivals),
        "rate": len(times) / max(arrivals),
        "lost": GOOD - len(times),
        "doubled": sum(times.values()) - len(times),
    }


def _row(case: str, rounds: list[dict[str, float]], alone: float) -> dict[str, Any]:
    def middle(name: str) -> float:
        return statistics.median(each[name] for each in rounds)

    rate = round(middle("rate"))
    return {
        "case": case,
        "fires/s (median)": rate,
        "fires/s (all)": ", ".join(str(round(each["rate"])) for each in rounds),
        "ratio to alone": 1.0 if alone == 1.0 else round(rate / alone, 2),
        "first input s": round(middle("first"), 3),
        "last input s": round(middle("last"), 2),
        "lost": sum(each["lost"] for each in rounds),
        "doubled": sum(each["doubled"] for each in rounds),
    }


if __name__ == "__main__":
    main()
