"""`python -m bench` names the benches; `python -m bench NAME [options]` runs one."""

import importlib
import sys

BENCHES = {
    "occurrences": "next occurrences per second, beside other cron libraries",
    "delivery": "fires per second of the HTTP side alone",
    "lateness": "how late inputs reach the agent (5 min)",
    "burst": "2,000 fires at one instant, also beside 500 that hang (15 min)",
    "trigger": "from a person's trigger until the agent has the input (12 min)",
    "crash": "SIGKILL of run, daemon and PostgreSQL in mid-minute (8 min a round)",
}


def main() -> None:
    """Run the bench that is named, or say which there are."""
    if len(sys.argv) < 2 or sys.argv[1] not in BENCHES:
        for name, about in BENCHES.items():
            print(f"python -m bench {name:12} {about}")
        sys.exit(0 if len(sys.argv) < 2 else 2)
    module = importlib.import_module(f"bench.{sys.argv.pop(1)}")
    sys.exit(module.main())


if __name__ == "__main__":
    main()
