"""`python -m fuzz`: throw everything that the OpenAPI document allows, and what it does not.

    make fuzz                                 # some ten thousand requests
    make fuzz ARGS="--examples 5 --seed 7"    # fewer, and the same ones again

The exit code is the verdict: 0 when nothing was found.
"""

import argparse
import sys
from pathlib import Path

from bench.scene import tables, url_of, workplace
from fuzz.judging import findings
from fuzz.running import attack
from fuzz.seeds import sow
from fuzz.serving import served

EXAMPLES = 40
AT_LEAST = 2_000


def main() -> int:
    """Attack a server of our own; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="for each operation")
    parser.add_argument("--seed", type=int, help="repeats what was made up")
    options = parser.parse_args()
    with tables() as store, workplace() as folder:
        # Ours, not SQLAlchemy's: the driver is said by whoever connects.
        url = url_of(store).replace("+psycopg", "")
        with served(url, folder) as server:
            seeds = sow(server.url, url)
            outcome = attack(
                server.url, seeds, folder, examples=options.examples, seed=options.seed
            )
            found = findings(outcome, server, at_least=AT_LEAST, deep=True)
        if found:
            Path("fuzz.log").write_text(outcome.said)
    print(outcome.summary())
    print("\n".join(found) or "Nothing was found.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
