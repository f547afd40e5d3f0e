"""The first tick after an hour without a clock: 10,000 one-minute schedules.

python -m bench outage [--schedules 10000] [--rounds 3]
"""

import argparse
import statistics
import time
from datetime import timedelta
from typing import Any

from bench.filling import fill, run_sql, tidy
from bench.report import publish
from bench.scene import tables
from schedules_pipeline.services.ticking import Clock
from tests.ledger import RULES, an_agent, database_now

HOUR = timedelta(hours=1)

STATE = """
select count(*) filter (where s.kind = 'minute') as live_fires,
       count(distinct f.schedule_id) filter (where s.kind = 'minute') as live_schedules,
       count(*) filter (where s.kind = 'backlog') as made_up,
       (select count(*) from gaps) as gaps,
       (select count(*) from slices where kind = 'minute' and emit_count > 0) as emitted
from fires f join slices s using (slice_key)
"""


def main() -> int:
    """Measure both policies that make something up; 1 when live fires are not there at once.

    `all` is shown beside it: what it makes up is bounded per tick, so its live fires come later.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    policies = ("latest", "none", "all")
    rows = [measure(policy, options.schedules, options.rounds) for policy in policies]
    good = all(row["ticks to live"] == 1 for row in rows if row["catchup_policy"] == "latest")
    publish(
        f"After an hour's outage, {options.schedules} one-minute schedules",
        rows,
        f"Medians of {options.rounds} outages. Live: every schedule has fires in slices of live "
        "minutes, and the run of one is requested. Budget (the default policy, `latest`): in the "
        f"first tick: {'held' if good else 'MISSED'}.",
    )
    return 0 if good else 1


def measure(policy: str, schedules: int, rounds: int) -> dict[str, Any]:
    """The medians of so many outages."""
    found = [_outage(policy, schedules) for _ in range(rounds)]
    names = list(found[0])
    medians = {name: round(statistics.median(each[name] for each in found), 2) for name in names}
    return {"catchup_policy": policy, **medians}


def _outage(policy: str, schedules: int) -> dict[str, float]:
    with tables() as store:
        agent = an_agent(store)
        first = database_now(store).replace(second=0, microsecond=0) - HOUR
        fill(store, [agent.id], schedules, first=first, every=60, catchup=policy)
        tidy(store)
        clock = Clock(store, RULES, lambda _: ())
        ticks, seconds, live = 0, 0.0, False
        first_tick: dict[str, float] = {}
        while not live:
            begun = time.monotonic()
            clock.tick(lambda _: ())
            seconds += time.monotonic() - begun
            ticks += 1
            (row,) = run_sql(store, STATE)
            live = row.live_schedules == schedules and row.emitted > 0
            first_tick = first_tick or {
                "first tick s": seconds,
                "live fires in it": row.live_fires,
                "made up in it": row.made_up,
            }
        return {**first_tick, "ticks to live": ticks, "seconds of ticks": seconds, "gaps": row.gaps}
