"""`python -m soak`: break everything, for minutes, and say whether the promise was kept.

    make soak                                          # every scenario, one after another
    make soak ARGS="--scenario kills --minutes 12"     # one of them

The exit code is the verdict: 0 kept, 1 broken, 2 a scenario could not run on this machine.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from bench.report import machine
from soak import races
from soak.evidence import gather
from soak.scenarios import SCENARIOS, Scenario
from soak.stages import CannotRun
from soak.verdict import Verdict, judge

SCHEDULES = 200
DRAIN_SECONDS = 600.0
KEPT, BROKEN, NOT_RUN = 0, 1, 2
RACES = "races"
NAMES = [*SCENARIOS, RACES]


def main() -> int:
    """Play the scenarios that are asked for; the worst verdict is the answer."""
    options = _options()
    # Whoever ends us finds nothing left of the house.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(NOT_RUN))
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    print(", ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    names = [options.scenario] if options.scenario else NAMES
    return max(_play(name, options, seed) for name in names)


def _options() -> argparse.Namespace:
    told = [(name, each.about, each.minutes) for name, each in SCENARIOS.items()]
    told.append((RACES, races.ABOUT, races.MINUTES))
    about = "\n".join(f"  {name:12} {what} ({minutes:g} min)" for name, what, minutes in told)
    parser = argparse.ArgumentParser(
        prog="python -m soak",
        description=f"Fault injection against the real house. Scenarios:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", choices=NAMES, help="one; else all, in turn")
    parser.add_argument("--minutes", type=float, help="of faults, instead of the scenario's own")
    parser.add_argument("--schedules", type=int, default=SCHEDULES)
    parser.add_argument("--seed", type=int, help="repeats the choice and the times of the faults")
    parser.add_argument("--folder", type=Path, help="keep logs and data there")
    return parser.parse_args()


def _play(name: str, options: argparse.Namespace, seed: int) -> int:
    """One scenario's verdict, printed."""
    try:
        kept = _play_races(options, seed) if name == RACES else _play_faults(name, options, seed)
    except CannotRun as reason:
        print(f"NOT RUN: {reason}", flush=True)
        return NOT_RUN
    print(f"VERDICT: {'kept' if kept else 'BROKEN'}", flush=True)
    return KEPT if kept else BROKEN


def _play_races(options: argparse.Namespace, seed: int) -> bool:
    print(f"\n## {RACES}: {races.ABOUT}\n")
    return races.play(options.minutes or races.MINUTES, seed)


def _play_faults(name: str, options: argparse.Namespace, seed: int) -> bool:
    scenario = SCENARIOS[name]
    minutes = options.minutes or scenario.minutes
    print(f"\n## {name}: {scenario.about}\n")
    print(f"seed {seed}, {options.schedules} schedules, {minutes:g} min of faults", flush=True)
    with _folder(options.folder and options.folder / name) as folder:
        return _run(scenario, folder, Random(seed), options.schedules, minutes).kept


def _run(
    scenario: Scenario, folder: Path, chance: Random, schedules: int, minutes: float
) -> Verdict:
    with scenario.set_up(folder, chance) as stage:
        stage.populate(schedules, **scenario.fields)
        stage.warm_up()
        began = time.monotonic()
        scenario.inject(stage, minutes * 60)
        until = stage.now()
        print(f"faults, {time.monotonic() - began:.0f} s: "
              + ", ".join(f"{what} × {n}" for what, n in sorted(stage.faults.items())))  # fmt: skip
        began = time.monotonic()
        drained = stage.drain(until, DRAIN_SECONDS)
        print(f"{'all' if drained else 'NOT all'} ended {time.monotonic() - began:.0f} s later")
        evidence = gather(stage, until, scenario.late_limit_seconds)
    verdict = judge(evidence)
    _tell(verdict)
    return verdict


def _tell(verdict: Verdict) -> None:
    print(f"occurrences {verdict.occurrences}, at an agent {verdict.delivered}")
    print("ended: " + ", ".join(f"{end} {n}" for end, n in verdict.ends.most_common()))
    print(f"inputs repeated and marked so: {verdict.duplicates_marked}")
    said = verdict.holes_by_the_audit
    print(f"holes by the product's own audit: {'not asked' if said is None else said}")
    for name, count in verdict.offences.all().items():
        print(f"  {name.replace('_', ' '):28} {count}{'  <-- must be 0' if count else ''}")


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter."""
    if wanted is not None:
        wanted.mkdir(parents=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="schedules-soak-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


if __name__ == "__main__":
    sys.exit(main())
