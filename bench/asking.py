"""What is asked side by side, in which sizes, and about how long that takes."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import questions
from bench.answers import Answers
from bench.contenders import Contender, Place
from bench.questions import AFTERWARDS_SECONDS, Row

QUICK_SECONDS = 30
QUESTIONS = ("burst", "precision", "trigger", "steady", "crash")


@dataclass(frozen=True)
class Question:
    """`cases`: what is varied, in `unit`s; `ask` answers for one case; `about` says what it means;
    `lasts`: about how many seconds that takes a contender once its schedules are due."""

    title: str
    about: str
    cases: Sequence[int]
    unit: str
    headline: str
    ask: Callable[[Place, Contender, int], Row]
    lasts: Callable[[Contender, int], float]

    def sizes(self, contender: Contender) -> list[int]:
        """Its cases; of fires, no more than the contender can take, and none twice."""
        if self.unit != "fires":
            return list(self.cases)
        return list(dict.fromkeys(min(case, contender.largest) for case in self.cases))

    def a_second(self, case: int) -> float:
        """How many fires a second that asks for, on and on; none where it is for once."""
        return {"schedules": case / 10, "fires a second": float(case)}.get(self.unit, 0.0)

    def seconds(self, contender: Contender, case: int) -> float:
        """About how long one round takes."""
        if self.a_second(case) > contender.fastest:
            return 0.0
        number = {"fires a second": case * 10, "triggers": 0}.get(self.unit, case)
        return contender.ahead(number) + self.lasts(contender, case)

    def answers(self, name: str) -> Answers:
        """None so far."""
        return Answers(name, self.title, self.about, self.unit, self.headline)


def the_questions(options: argparse.Namespace) -> dict[str, Question]:
    """All of them, long or short."""
    quick: bool = options.quick
    seconds = QUICK_SECONDS if quick else options.seconds
    triggers, apart = (10, 0.5) if quick else (options.triggers, options.apart)

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

    def as_fast_as_it_is(who: Contender, case: int) -> float:
        return case / who.rate

    def regular(_who: Contender, _case: int) -> float:
        return seconds + AFTERWARDS_SECONDS

    return {
        "burst": Question(
            "Burst",
            "So many fires at one instant. Times from that instant to an input's arrival; fires/s "
            "until the last one. CPU and memory: of all processes with their database, the agent "
            "not, from when the schedules stand until the last input.",
            [1_000] if quick else options.fires,
            "fires",
            "fires/s",
            burst,
            as_fast_as_it_is,
        ),
        "precision": Question(
            "Precision",
            f"So many schedules every 10 s, all in the same second, for {seconds} s. How late an "
            "input arrives; lost: not there 10 s after the last instant.",
            [10] if quick else options.schedules,
            "schedules",
            "p99_ms",
            precision,
            regular,
        ),
        "trigger": Question(
            "Trigger now",
            f"From before the request until the agent has the input, about {apart:g} s between "
            "two; nothing else is due.",
            [triggers],
            "triggers",
            "p50_ms",
            trigger,
            lambda who, case: case * (apart + 1 / who.rate),
        ),
        "steady": Question(
            "Steady",
            f"So many fires in each second, for {seconds} s. Backlog: not there when the last "
            "second is over.",
            [10] if quick else options.rates,
            "fires a second",
            "p99_ms",
            steady,
            regular,
        ),
        "crash": Question(
            "Crash",
            "SIGKILL of whatever schedules and works, when half of the fires are there; started "
            "again at once; its database stays up. Recovered: from the kill until the last input, "
            "unless some never came. Doubled: inputs that came again.",
            [1_000],
            "fires",
            "recovered s",
            crash,
            lambda who, case: case / who.rate + who.ahead(0) + who.patience,
        ),
    }
