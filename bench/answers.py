"""What was answered side by side: kept at once, merged with what was there, shown as tables.

A folder holds a file per question. It is rewritten after each answer, so that a bench of an hour
that is interrupted has lost one answer, and goes on where it was when it is started again.
"""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.report import Table, machine

Row = dict[str, Any]

SUMS = ("lost", "doubled", "early", "backlog at the end")
"""What is added up over the rounds; of all else the median is told."""
PARTICIPANTS = "Who takes part"


@dataclass(frozen=True)
class Answer:
    """Of one contender, to one case of a question. `rounds`: as measured; none, with the `reason`,
    when it did not answer."""

    contender: str
    version: str
    set_up: str
    case: int
    rounds: Sequence[Row] = ()
    reason: str = ""

    @property
    def row(self) -> Row:
        """Its line in the table."""
        return {"rounds": len(self.rounds), **middle(self.rounds)}


@dataclass
class Answers:
    """All to one question. `about`: what was asked; `unit`: what a case counts; `headline`: the
    measure of which the extremes are told."""

    question: str
    title: str
    about: str
    unit: str
    headline: str = ""
    found: list[Answer] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, said: dict[str, Any]) -> Self:
        """From JSON."""
        return cls(**{**said, "found": [Answer(**each) for each in said["found"]]})

    def merge(self, folder: Path) -> None:
        """Take over what a file of the folder has. Errors: ValueError when it was asked otherwise.

        What its rounds are is not the question: an answer says how many it had.
        """
        file = self._file(folder)
        if file.is_file():
            there = self.read(json.loads(file.read_text()))
            if (there.about, there.unit) != (self.about, self.unit):
                raise ValueError(f"{file} was asked otherwise ({there.about}): take another folder")
            self.found, self.machine = there.found, there.machine

    def has(self, contender: str, case: int, rounds: int) -> bool:
        """Whether it was answered, in so many rounds at least."""
        return any(
            (each.contender, each.case) == (contender, case) and len(each.rounds) >= rounds
            for each in self.found
        )

    def keep(self, answer: Answer, folder: Path | None) -> None:
        """In place of an earlier one; in the file, as a whole or not at all."""
        mine = (answer.contender, answer.case)
        self.found = [each for each in self.found if (each.contender, each.case) != mine]
        self.found.append(answer)
        self.machine = machine()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / f".{self.question}.json"
            draft.write_text(json.dumps(asdict(self), indent=1) + "\n")
            draft.rename(self._file(folder))

    def table(self) -> Table:
        """A line per answer, by size."""
        rows = [self._line(each) for each in self.answered()]
        several = any(row["rounds"] > 1 for row in rows)
        sums = " Of several rounds the median; of what is lost, doubled, early the sum."
        return Table(self.title, rows, self.about + (sums if several else ""))

    def answered(self) -> list[Answer]:
        """By size, then in the order of their contenders."""
        return sorted((each for each in self.found if each.rounds), key=lambda each: each.case)

    def _line(self, answer: Answer) -> Row:
        line = {"contender": answer.contender, self.unit: answer.case, **answer.row}
        if self.headline:
            line[f"{self.headline}, from–to"] = _span(answer.rounds, self.headline)
        return line

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.question}.json"


def participants(answers: Iterable[Answers]) -> Table:
    """Who was asked, and what they did not do, with the reason."""
    who: dict[str, Answer] = {}
    reasons: dict[str, list[str]] = {}
    for of in answers:
        for each in of.found:
            who[each.contender] = each
            said = reasons.setdefault(each.contender, [])
            if each.reason:
                said.append(f"{of.title}, {each.case:,} {of.unit}: {each.reason}")
    rows = [
        {
            "contender": each.contender,
            "version": each.version,
            "how it is used": each.set_up,
            "what it did not do": "; ".join(dict.fromkeys(reasons[each.contender])) or "–",
        }
        for each in who.values()
    ]
    about = (
        "A fire is two HTTP calls over kept-alive connections: a task, then its input. Each of "
        "them has the machine to itself. A slow one is given fewer fires at once, in fewer rounds: "
        "the columns say."
    )
    return Table(PARTICIPANTS, rows, about)


def middle(rounds: Sequence[Row]) -> Row:
    """One row of several: sums of faults, medians of figures; what could not be told is a dash."""
    return {name: _one([each[name] for each in rounds], name) for name in rounds[0]}


def _one(values: Sequence[Any], name: str) -> Any:
    if name in SUMS:
        return sum(values)
    known = _known(values)
    return round(statistics.median(known), 2) if known else "–"


def _known(values: Iterable[Any]) -> list[float]:
    return [each for each in values if each is not None and math.isfinite(each)]


def _span(rounds: Sequence[Row], name: str) -> str:
    known = _known(each[name] for each in rounds)
    return f"{min(known):g}–{max(known):g}" if len(known) > 1 else "–"
