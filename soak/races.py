"""The scenario `races`: the suite's races and model, many times over, on real connections."""

import os
import subprocess
import sys
from pathlib import Path

ABOUT = "two at once, thousands of rounds: ticks, runs, edits, outcomes, take-overs; the model"
# A round takes its time; this many times the gate's rounds and examples per minute asked for.
TIMES_PER_MINUTE = 3
MINUTES = 5.0
TESTS = (
    "tests/store/test_races.py",
    "tests/store/test_edit_races.py",
    "tests/store/test_takeover_races.py",
    "tests/store/test_promises.py",
    "tests/services/test_model.py",
)
ROOT = Path(__file__).parents[1]


def play(minutes: float, seed: int) -> bool:
    """Whether every round was as it must be, without a deadlock that PostgreSQL counted."""
    times = max(1, round(minutes * TIMES_PER_MINUTE))
    print(f"seed {seed}, each race {times} times its rounds in the gate", flush=True)
    variables = {"SCHEDULES_TEST_ROUNDS": str(times), "SCHEDULES_TEST_EXAMPLES": str(6 * times)}
    command = [sys.executable, "-m", "pytest", "-v", "--timeout", "0"]
    seeded = ["--hypothesis-seed", str(seed)]
    done = subprocess.run(
        [*command, *seeded, *TESTS], cwd=ROOT, env={**os.environ, **variables}, check=False
    )
    return done.returncode == 0
