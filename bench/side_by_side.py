"""The same questions to ours and to its peers, in one run, on one machine, with one kind of agent.

python -m bench side-by-side [burst precision trigger steady crash] [--quick] [--only ours dbos]

Without a question, all of them. `--quick`: a short round of all but `steady`, of the first four.
`--into FOLDER` writes each answer there at once, for `python -m bench document`; what stands there
already, in as many rounds, is not asked again. A peer that cannot run, fails or takes too long is
named with the reason. `--estimate` says how long it would take, and asks nobody.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.answers import Answer, Answers, participants
from bench.asking import QUESTIONS, Question, the_questions
from bench.comparison import comparison
from bench.contenders import Contender, Place
from bench.environments import Unavailable
from bench.house import House
from bench.limit import at_most
from bench.questions import Row
from bench.report import machine, markdown, one_line
from bench.rivals import PEERS

CONTENDERS: tuple[Contender, ...] = (House(), *PEERS)
QUICK = ("ours", "apscheduler", "procrastinate", "stock")
PATIENCE_SECONDS = 60.0
"""More than twice the estimate and this is too long."""


@dataclass(frozen=True)
class Case:
    """One question to one contender, in one size."""

    question: Question
    answers: Answers
    contender: Contender
    size: int
    rounds: int

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.rounds * self.question.seconds(self.contender, self.size)

    @property
    def asked(self) -> bool:
        """Whether there is an answer already."""
        return self.answers.has(self.contender.title, self.size, self.rounds)


def main() -> int:
    """Ask everybody; 1 when ours loses a fire, doubles one without a crash, or cannot answer."""
    options = _options()
    # Else who asks it to end leaves the peers' processes behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = the_questions(options)
    chosen = options.questions or [n for n in asked if not (options.quick and n == "steady")]
    answers = [asked[name].answers(name) for name in chosen]
    for each in answers if options.into else ():
        each.merge(options.into)
    cases = [case for case in _cases(asked, answers, options) if not case.asked]
    _say(f"about {_minutes(cases, options.only):.0f} min for {len(cases)} answers")
    if options.estimate:
        return 0
    for contender in options.only:
        _ask([case for case in cases if case.contender is contender], options.into)
    _print(answers)
    return 0 if _good(answers) else 1


def _cases(
    asked: dict[str, Question], answers: Sequence[Answers], options: argparse.Namespace
) -> list[Case]:
    return [
        Case(asked[of.question], of, contender, size, min(options.rounds, contender.rounds))
        for contender in options.only
        for of in answers
        for size in asked[of.question].sizes(contender)
    ]


def _minutes(cases: Sequence[Case], contenders: Sequence[Contender]) -> float:
    starts = {each.name: each.ahead(0) for each in contenders}
    up = sum(starts[name] for name in {case.contender.name for case in cases})
    return (up + sum(case.seconds for case in cases)) / 60


def _ask(cases: Sequence[Case], folder: Path | None) -> None:
    """One contender's. What it cannot do is put down as the reason, whatever is the matter."""
    left = list(cases)
    try:
        if left:
            left[0].contender.version()
            with left[0].contender.up() as place:
                while left:
                    _keep(left[0], folder, *_answer(place, left[0]))
                    del left[0]
    except Exception as error:  # of one contender; the others are asked all the same
        for case in left:
            _keep(case, folder, [], f"not run: {_words(error)}")


def _keep(case: Case, folder: Path | None, rounds: Sequence[Row], reason: str) -> None:
    who = case.contender
    if reason:
        _say(f"{who.title}: {case.answers.question} {case.size}: {reason}")
    found = Answer(who.title, _version(who), who.set_up, case.size, rounds, reason)
    case.answers.keep(found, folder)


def _answer(place: Place, case: Case) -> tuple[list[Row], str]:
    """The rounds that it answered; why not the others."""
    who, question, found = case.contender, case.question, list[Row]()
    rate = question.a_second(case.size)
    if rate > who.fastest:
        return found, f"it does not make {rate:g} fires a second"
    try:
        for number in range(1, case.rounds + 1):
            _say(f"{who.title}: {case.answers.question} {case.size}, {number} of {case.rounds}")
            with at_most(PATIENCE_SECONDS + 2 * question.seconds(who, case.size)):
                found.append(question.ask(place, who, case.size))
    except Exception as error:  # of this case; the contender may do better in another
        return found, _words(error)
    return found, ""


def _words(error: Exception) -> str:
    known = isinstance(error, (Unavailable, TimeoutError))
    return str(error) if known else f"{type(error).__name__}: {error}"


def _version(contender: Contender) -> str:
    try:
        return contender.version()
    except Unavailable:
        return "–"


def _print(answers: Sequence[Answers]) -> None:
    """The machine, who took part, what they answered, ours beside the best."""
    tables = [participants(answers), *(each.table() for each in answers if each.answered())]
    print(f"\n{one_line(machine())}\n\n{markdown([vars(each) for each in tables])}")
    print(comparison(answers))


def _good(answers: Sequence[Answers]) -> bool:
    ours = [
        (of.question, each) for of in answers for each in of.found if each.contender == House.title
    ]
    faults = sum(
        row.get("lost", 0)
        + row.get("early", 0)
        + (row.get("doubled", 0) if question != "crash" else 0)
        for question, each in ours
        for row in each.rounds
    )
    return not faults and not any(each.reason for _, each in ours)


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
    parser.add_argument("--schedules", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--rates", type=int, nargs="+", default=[1, 10, 50, 100])
    parser.add_argument("--seconds", type=int, default=300, help="of precision, of steady")
    parser.add_argument("--triggers", type=int, default=50)
    parser.add_argument("--apart", type=float, default=5.0, help="seconds between two triggers")
    parser.add_argument("--only", nargs="+", choices=list(by_name))
    parser.add_argument("--into", type=Path, help="a folder for JSON files")
    parser.add_argument("--estimate", action="store_true", help="only say how long it takes")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    everybody = [name for name in by_name if name in QUICK or not options.quick]
    options.only = [by_name[name] for name in options.only or everybody]
    return options


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
