"""Makes the tables ready for `schedules dev`, in a process that is gone when they are.

    python -m schedules_pipeline.dev.preparing '{"demo-async": "http://127.0.0.1:9001"}'

Its standard output is for the supervisor: `ready`, or one line that says why not.
"""

import json
import sys

from schedules_pipeline.dev.books import READY
from schedules_pipeline.dev.ledger import explain
from schedules_pipeline.settings import Settings
from schedules_pipeline.wiring import Wiring


def main() -> None:
    """Bring the tables up to date, then register the demo agents that are named."""
    try:
        _prepare(json.loads(sys.argv[1]))
    except Exception as error:  # whatever it is, the supervisor decides
        sys.stdout.write(explain(error))
        return
    sys.stdout.write(READY)


def _prepare(agent_urls: dict[str, str]) -> None:
    wiring = Wiring(Settings.load(), pool_size=1)
    try:
        wiring.migrate()
        if agent_urls:
            wiring.seed_demo(agent_urls)
    finally:
        wiring.close()


if __name__ == "__main__":
    main()
