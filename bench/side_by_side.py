"""The same questions to ours and to its peers, in one run, on one machine, with one kind of agent.

python -m bench side-by-side [burst precision trigger steady crash] [--quick] [--only ours dbos]

Without a question, all of them. `--quick`: a short round of all but `steady`, of the first four.
`--into FOLDER` writes a JSON file per question there, for `python -m bench document`. A peer that
cannot run is named with the reason.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench import questions
from bench.contenders import Contender, Place
from bench.environments import Unavailable
from bench.house import House
from bench.questions import Row
from bench.report import Table, content, markdown, one_line
from bench.rivals import PEERS

CONTENDERS: tuple[Contender, ...] = (House(), *PEERS)
QUICK = ("ours", "apscheduler", "procrastinate", "stock")
QUICK_SECONDS = 30
QUESTIONS = ("burst", "precision", "trigger", "steady", "crash")
SUMS = ("lost", "doubled", "early", "backlog at the end")
"""What is added up over the rounds; of all else the median is told."""


@dataclass(frozen=True)
class Question:
    """`cases`: what is varied, by name; `ask` answers for one case; `about` says what it means."""

    title: str
    about: str
    cases: Sequence[int]
    unit: str
    ask: Callable[[Place, Contender, int], Row]

    def a_second(self, case: int) -> float:
        """How many fires a second that asks for, on and on; none where it is for once."""
        return {"schedules": case / 10, "fires a second": float(case)}.get(self.unit, 0.0)


def the_questions(quick: bool, options: argparse.Namespace) -> dict[str, Question]:
    """All of them, long or short."""
    seconds = QUICK_SECONDS if quick else options.seconds
    triggers, apart = (10, 0.5) if quick else (50, 5.0)

    def burst(place: Place, who: Contender, case: int) -> Row:
        return questions.burst(place, case, who.patience)

    def precision(place: Place, _: Contender, case: int) -> Row:
        return questions.precision(place, case, seconds)

    def trigger(place: Place, _: Contender, case: int) -> Row:
        return questions.trigger(place, case, apart)

    def steady(place: Place, _: Contender, case: int) -> Row:
        return questions.steady(place, case, seconds)

    def crash(place: Place, who: Contender, case: int) -> Row:
        return questions.crash(place, case, who.patience, quick)

    return {
        "burst": Question(
            "Burst",
            "So many fires at one instant. Times from that instant to an input's arrival; fires/s "
            "until the last one. CPU and memory: of all processes with their database, the agent "
            "not, from when the schedules stand until the last input.",
            [1_000] if quick else options.fires,
            "fires",
            burst,
        ),
        "precision": Question(
            "Precision",
            f"So many schedules every 10 s, all in the same second, for {seconds} s. How late an "
            "input arrives; lost: not there 10 s after the last instant.",
            [10] if quick else [1, 10, 100],
            "schedules",
            precision,
        ),
        "trigger": Question(
            "Trigger now",
            f"From before the request until the agent has the input, about {apart:g} s between "
            "two; nothing else is due.",
            [triggers],
            "triggers",
            trigger,
        ),
        "steady": Question(
            "Steady",
            f"So many fires in each second, for {seconds} s. Backlog: not there when the last "
            "second is over.",
            [10] if quick else [1, 10, 50, 100],
            "fires a second",
            steady,
        ),
        "crash": Question(
            "Crash",
            "SIGKILL of whatever schedules and works, when half of the fires are there; started "
            "again at once; its database stays up. Recovered: from the kill until the last input. "
            "Doubled: inputs that came again.",
            [1_000],
            "fires",
            crash,
        ),
    }


def main() -> int:
    """Ask everybody; 1 when ours loses a fire, doubles one without a crash, or cannot answer."""
    options = _options()
    asked = the_questions(options.quick, options)
    chosen = options.questions or [n for n in asked if not (options.quick and n == "steady")]
    rows: dict[str, list[tuple[int, Row]]] = {name: [] for name in chosen}
    reasons: dict[str, list[str]] = {each.name: [] for each in options.only}
    for contender in options.only:
        for name, case, row in _answers(contender, asked, chosen, options.rounds, reasons):
            rows[name].append((case, row))
    tables = {
        name: [_participants(options.only, reasons), _table(asked[name], rows[name], options)]
        for name in chosen
        if rows[name]
    }
    for number, (name, found) in enumerate(tables.items()):
        written = content(found)
        print(f"\n{one_line(written['machine'])}\n" if number == 0 else "")
        print(markdown(written["tables"] if number == 0 else written["tables"][1:]))
        if options.into:
            options.into.mkdir(parents=True, exist_ok=True)
            (options.into / f"{name}.json").write_text(json.dumps(written, indent=1) + "\n")
    return 0 if _good(rows, reasons) else 1


def _question(name: str) -> str:
    # Not by `choices`: with none given, argparse of 3.11 takes the empty list for a wrong one.
    if name not in QUESTIONS:
        raise argparse.ArgumentTypeError(f"`{name}`; there are {', '.join(QUESTIONS)}")
    return name


def _options() -> argparse.Namespace:
    by_name = {each.name: each for each in CONTENDERS}
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", nargs="*", type=_question, metavar="QUESTION")
    parser.add_argument("--quick", action="store_true", help="about 10 min")
    parser.add_argument("--rounds", type=int, help="medians of so many [5; quick: 1]")
    parser.add_argument("--fires", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--seconds", type=int, default=300, help="of precision, of steady")
    parser.add_argument("--only", nargs="+", choices=list(by_name))
    parser.add_argument("--into", type=Path, help="a folder for JSON files")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    everybody = [name for name in by_name if name in QUICK or not options.quick]
    options.only = [by_name[name] for name in options.only or everybody]
    return options


def _answers(
    contender: Contender,
    asked: dict[str, Question],
    chosen: Sequence[str],
    rounds: int,
    reasons: dict[str, list[str]],
) -> Iterator[tuple[str, int, Row]]:
    """One contender's rows. What it cannot do is put down among the reasons."""
    try:
        contender.version()
        with contender.up() as place:
            for name in chosen:
                for case in asked[name].cases:
                    _say(f"{contender.title}: {name} {case}")
                    try:
                        yield name, case, _case(place, contender, asked[name], case, rounds)
                    except (Unavailable, TimeoutError) as error:
                        reasons[contender.name].append(f"{name} {case}: {error}")
    except Unavailable as error:
        reasons[contender.name].append(f"not run: {error}")


def _case(place: Place, contender: Contender, question: Question, case: int, rounds: int) -> Row:
    number = min(case, contender.largest) if question.unit == "fires" else case
    if question.a_second(case) > contender.fastest:
        raise Unavailable(f"it does not make {question.a_second(case):g} fires a second")
    found = [question.ask(place, contender, number) for _ in range(rounds)]
    return {"contender": contender.title, question.unit: number, **middle(found)}


def middle(rounds: Sequence[Row]) -> Row:
    """One row of several: sums of faults, medians of figures; what could not be told is a dash."""
    return {name: _one([each[name] for each in rounds], name) for name in rounds[0]}


def _one(values: Sequence[Any], name: str) -> Any:
    if name in SUMS:
        return sum(values)
    known = [each for each in values if each is not None and math.isfinite(each)]
    return round(statistics.median(known), 2) if known else "–"


def _table(
    question: Question, found: Sequence[tuple[int, Row]], options: argparse.Namespace
) -> Table:
    faults = "sums for what is lost, doubled, early" if options.rounds > 1 else ""
    rounds = f"Medians of {options.rounds} rounds, {faults}." if faults else "One round."
    return Table(
        question.title,
        [row for _, row in sorted(found, key=itemgetter(0))],
        f"{question.about} {rounds}",
    )


def _participants(contenders: Sequence[Contender], reasons: dict[str, list[str]]) -> Table:
    rows = [
        {
            "contender": each.title,
            "version": _version(each),
            "how it is used": each.set_up,
            "what it did not do": "; ".join(reasons[each.name]) or "–",
        }
        for each in contenders
    ]
    about = (
        "A fire is two HTTP calls over kept-alive connections: a task, then its input. Each of "
        "them has the machine to itself. A slow one is given fewer fires at once: the column says."
    )
    return Table("Who takes part", rows, about)


def _version(contender: Contender) -> str:
    try:
        return contender.version()
    except Unavailable:
        return "–"


def _good(rows: dict[str, list[tuple[int, Row]]], reasons: dict[str, list[str]]) -> bool:
    ours = [
        (name, row)
        for name, found in rows.items()
        for _, row in found
        if row["contender"] == House.title
    ]
    faults = sum(
        row.get("lost", 0) + row.get("early", 0) + (row.get("doubled", 0) if name != "crash" else 0)
        for name, row in ours
    )
    return not faults and not reasons.get(House.name)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
