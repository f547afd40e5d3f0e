"""docs/performance.md, made of what the benches wrote to bench/results/: no figure is typed in.

python -m bench document [FOLDER] > docs/performance.md
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.answers import Answers, participants
from bench.comparison import comparison
from bench.report import markdown, one_line

RESULTS = Path(__file__).parent / "results"
ORDER = ("burst", "precision", "trigger", "steady", "crash", "scale")
"""The files that are known, in this order; others follow by name."""

HEAD = """# Performance

Measured, not promised: ours and its peers after one another on the same machine, with the same
agent and the same work. This page is what `python -m bench document` makes of `bench/results/`;
how to measure anew stands in [operating](operating.md#measuring-it-yourself). What a bench does in
detail stands at the head of its file in `bench/`; what runs in a peer's processes, in
`bench/peers/`.
"""
UNITS = """
Times in seconds (`s`) or milliseconds (`ms`); p50 is what half of the inputs stay below, p99 what
99 of 100 do. *Lost*: due and never at the agent. *Doubled*: at the agent more than once. *Early*:
before its time. *CPU s*: processor time of everything that the contender runs. A dash: not told.
"""

NOTHING = """
Nothing is recorded yet: `make bench ARGS="side-by-side --into bench/results"`.
"""


def main() -> None:
    """Print the page."""
    print(document(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS), end="")


def document(results: Path) -> str:
    """The page that these files make."""
    files = sorted(results.glob("*.json"), key=lambda file: (_place(file.stem), file.stem))
    found = [json.loads(file.read_text()) for file in files]
    beside = [Answers.read(each) for each in found if "question" in each]
    alone = [each for each in found if "question" not in each]
    if not found:
        return HEAD + NOTHING
    return HEAD + UNITS + _side_by_side(beside) + "".join(_section(each) for each in alone)


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _side_by_side(answers: Sequence[Answers]) -> str:
    """Who took part, ours beside the best, then each question."""
    if not answers:
        return ""
    who = f"\n{markdown([vars(participants(answers))])}"
    asked = [
        _section({"tables": [vars(each.table())], "machine": each.machine})
        for each in answers
        if each.answered()
    ]
    return who + comparison(answers) + "".join(asked)


def _section(found: dict[str, Any]) -> str:
    """Tables, below them the machine."""
    return f"\n{markdown(found['tables'])}\nOn: {one_line(found['machine'])}.\n"
