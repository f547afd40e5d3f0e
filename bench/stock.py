"""The peer: stock Dagster, one run per fire, on the same machine, with the same agent and calls.

python -m bench stock [--fires 20]
"""

import argparse

from bench import questions
from bench.report import publish
from bench.rivals import PEERS


def main() -> None:
    """One burst."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fires", type=int, default=20)
    parser.add_argument("--json")
    found = measure(parser.parse_args().fires)
    row = {name: round(value, 3) for name, value in found.items()}
    publish(
        "Stock Dagster, one run per fire",
        [row],
        "All fires at one instant; two HTTP calls per fire. Times in seconds after the instant.",
    )


def measure(fires: int) -> dict[str, float]:
    """So many fires at one instant; the names are those of `bench.burst`.

    A run's event is written before it ends, so its last delivery is its audit.
    """
    (stock,) = (peer for peer in PEERS if peer.name == "stock")
    with stock.up() as place:
        row = questions.burst(place, fires, stock.patience)
    return {
        "rate": row["fires/s"],
        "first": row["first s"],
        "last": row["last s"],
        "audited": row["last s"],
        "undelivered": 0,
        "fires": fires,
        **{name: row[name] for name in ("lost", "doubled", "early")},
    }
