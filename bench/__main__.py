"""`python -m bench` names the benches; `python -m bench NAME [options]` runs one."""

import importlib
import sys

BENCHES = {
    "occurrences": "next occurrences per second, beside other cron libraries",
    "audit": "fires told to Dagster per second, by each way, and a burst's audit (4 min)",
    "delivery": "fires per second of the HTTP side alone",
    "worker": "how late inputs are that one slice's worker sends, without Dagster (3 min)",
    "tick": "what a tick costs with 1,000 to 1,000,000 schedules, with EXPLAIN (4 min)",
    "planning": "fires planned per second, and what claims wait meanwhile (2 min)",
    "outage": "the first tick after an hour without a clock (5 min)",
    "lateness": "how late inputs reach the agent, 1 to 1,000 at one instant (25 min)",
    "burst": "10,000 fires at one instant, beside 500 that hang, and by stock Dagster (25 min)",
    "stock": "stock Dagster with one run per fire, alone (2 min)",
    "steady": "processor, memory, growth: at rest and at 10 fires a second (25 min)",
    "trigger": "from a person's trigger until the agent has the input (12 min)",
    "launch": "from a launch to a Dagster run's first op, forked and cold (8 min)",
    "api": "creates per second, and lists among 100,000 schedules (3 min)",
    "crash": "SIGKILL of run, daemon and PostgreSQL in mid-minute (8 min a round)",
    "backfill": "from a click on 20 missed hours until all is delivered (2 min a round)",
    "side-by-side": "five questions to ours and to seven peers (hours; --estimate: how many)",
    "document": "prints docs/performance.md, made of bench/results/",
}


def main() -> None:
    """Run the bench that is named, or say which there are."""
    if len(sys.argv) < 2 or sys.argv[1] not in BENCHES:
        for name, about in BENCHES.items():
            print(f"python -m bench {name:13} {about}")
        sys.exit(0 if len(sys.argv) < 2 else 2)
    module = importlib.import_module(f"bench.{sys.argv.pop(1).replace('-', '_')}")
    sys.exit(module.main())


if __name__ == "__main__":
    main()
