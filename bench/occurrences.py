"""How fast is the next occurrence? Ours beside cronsim, croniter and APScheduler, in one run.

    python -m bench occurrences

What is measured is what a clock does: given a cadence and an instant, find the one occurrence that
comes next; then go on from there. One process, one core. The peers live in an environment of their
own, made in a temporary folder, so that they never become dependencies; they take the same walk.

Two forms of a peer are measured where it has two: `fresh` builds it anew for each answer, as one
must who may be asked about any instant; `kept` lets one iterator run on, which can answer nothing
else. Ours and APScheduler's keep what they have parsed, and answer about any instant. The first
answers of all are compared, over a span without a clock change.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Any

START = datetime(2026, 4, 1, 0, 0, 30, tzinfo=UTC)
CASES: dict[str, tuple[str | int, str, int | None]] = {
    "*/5 * * * *": ("*/5 * * * *", "UTC", 20_000),
    "0 9 * * MON-FRI Berlin": ("0 9 * * MON-FRI", "Europe/Berlin", 12_000),
    "0 0 29 2 *": ("0 0 29 2 *", "UTC", None),
    "every 90 s": (90, "UTC", None),
}
PEERS = ("cronsim==2.8", "croniter==6.0.0", "apscheduler==3.11.0", "tzdata", "pytz")
COMPARED = 10

Step = Callable[[datetime], datetime | None]


def ours(when: str | int, zone: str) -> dict[str, Step]:
    """The package's own answer."""
    from schedules_pipeline.domain.cadence import Cadence
    from schedules_pipeline.domain.occurrences import next_occurrence

    if isinstance(when, int):
        cadence = Cadence(interval_seconds=when)
    else:
        cadence = Cadence(cron_expression=when, timezone=zone)
    return {"ours": lambda after: next_occurrence(cadence, after)}


def peers(when: str | int, zone: str) -> dict[str, Step]:
    """Everyone else's, for the environment in which they are installed."""
    from zoneinfo import ZoneInfo

    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.interval import IntervalTrigger

    tz = ZoneInfo(zone)
    if isinstance(when, int):
        # Its intervals count from `start_date`; only without a previous time does it look there.
        interval = IntervalTrigger(seconds=when, start_date=datetime(1970, 1, 1, tzinfo=UTC))
        moment = timedelta(microseconds=1)
        return {"apscheduler": lambda after: interval.get_next_fire_time(None, after + moment)}
    trigger = CronTrigger.from_crontab(when, timezone=tz)
    return {
        "apscheduler": lambda after: trigger.get_next_fire_time(after, after),
        **_cron_peers(when, tz),
    }


def _cron_peers(when: str, tz: Any) -> dict[str, Step]:
    from croniter import croniter  # type: ignore[import-untyped]
    from cronsim import CronSim

    def cronsim_kept() -> Iterator[datetime]:
        while True:
            yield from takewhile(_within_2100, CronSim(when, START.astimezone(tz)))

    def croniter_kept() -> Iterator[datetime]:
        while True:
            everything = croniter(when, START.astimezone(tz), ret_type=datetime)
            yield from takewhile(_within_2100, everything)

    simulated, iterated = cronsim_kept(), croniter_kept()

    def croniter_fresh(after: datetime) -> datetime:
        found: datetime = croniter(when, after.astimezone(tz)).get_next(datetime)
        return found

    return {
        "cronsim kept": lambda _: next(simulated),
        "cronsim fresh": lambda after: next(CronSim(when, after.astimezone(tz))),
        "croniter kept": lambda _: next(iterated),
        "croniter fresh": croniter_fresh,
    }


def _within_2100(moment: datetime) -> bool:
    return moment.year <= 2100


def measure(step: Step, seconds: float) -> tuple[int, float, list[str]]:
    """Answers and the processor's seconds for them, and what the first ones were.

    Processor time, not the wall clock's: others work on the same machine.
    """
    at = START
    seen: list[str] = []
    number, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(20):
            found = step(at)
            # Everyone walks the same years again and again; cronsim raises near the year 9999.
            at = START if found is None or not _within_2100(found) else found
            number += 1
            if len(seen) < COMPARED:
                seen.append(at.astimezone(UTC).isoformat())
    return number, spent, seen


def run(makers: Callable[[str | int, str], dict[str, Step]], seconds: float) -> list[list[Any]]:
    """One round over all cases: rows of case, name, answers per second, first answers."""
    rows: list[list[Any]] = []
    for case, (when, zone, _) in CASES.items():
        for name, step in makers(when, zone).items():
            if "kept" not in name:
                step(START)  # what is compiled once is compiled before the clock starts
            number, spent, seen = measure(step, seconds)
            rows.append([case, name, number / spent, seen])
    return rows


def run_peers(python: Path, seconds: float) -> list[list[Any]]:
    """The same round, in the peers' environment."""
    command = [str(python), __file__, "--peers", "--seconds", str(seconds)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[list[Any]] = json.loads(answer.stdout)
    return rows


def make_environment(folder: Path) -> Path:
    """A Python with the peers in it."""
    uv = Path(__file__).resolve().parent.parent / ".uv" / "bin" / "uv"
    tool = str(uv) if uv.exists() else "uv"
    subprocess.run([tool, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([tool, "pip", "install", "-q", "--python", str(python), *PEERS], check=True)
    return python


def report(rounds: list[list[list[Any]]]) -> bool:
    """Print the table; whether the budgets hold and all agree."""
    speeds: dict[tuple[str, str], list[float]] = {}
    answers: dict[tuple[str, str], list[str]] = {}
    for case, name, speed, seen in (row for rows in rounds for row in rows):
        speeds.setdefault((case, name), []).append(speed)
        answers.setdefault((case, name), seen)
    good = True
    for case, (_, _, budget) in CASES.items():
        base = statistics.median(speeds[case, "ours"])
        print(f"\n{case}" + (f"   (budget {budget:,}/s)" if budget else ""))
        for (of, name), values in speeds.items():
            if of != case:
                continue
            median = statistics.median(values)
            agrees = answers[of, name] == answers[case, "ours"]
            good &= agrees and (name != "ours" or budget is None or median >= budget)
            print(
                f"  {name:18} {median:10,.0f}/s  (of {len(values)}: {min(values):,.0f} to "
                f"{max(values):,.0f})  ours is {base / median:5.2f} x"
                + ("" if agrees else f"   DISAGREES: {answers[of, name][:2]}")
            )
    return good


def main() -> int:
    """Measure, print, and fail when a budget is missed or someone disagrees."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=0.5, help="per case and round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--peers", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.peers:
        print(json.dumps(run(peers, given.seconds)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder) / "peers")
        versions = ", ".join([*PEERS[:3], f"tzdata {metadata.version('tzdata')}"])
        print(
            f"{platform.machine()} {_processor()}, Python {platform.python_version()}; {versions}"
        )
        print(f"next occurrences per second of one core; median of {given.rounds} rounds")
        rounds = []
        for _ in range(given.rounds):
            rounds.append(run(ours, given.seconds) + run_peers(python, given.seconds))
    good = report(rounds)
    print(
        "\nbudgets hold, all answers agree" if good else "\nA BUDGET IS MISSED OR AN ANSWER DIFFERS"
    )
    return 0 if good else 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores"


if __name__ == "__main__":
    sys.exit(main())
