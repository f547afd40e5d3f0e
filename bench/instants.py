"""What arrived at an instant: how many fires, how late, lost, doubled, early."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

Input = dict[str, Any]


def tally(found: Sequence[Input], due: int) -> dict[str, int]:
    """Against the number that was due: lost, doubled, early."""
    times = Counter(each["fire"] for each in found)
    return {
        "fires": due,
        "lost": due - len(times),
        "doubled": sum(times.values()) - len(times),
        "early": sum(each["at"] < each["due"] for each in found),
    }


def due_at(found: Sequence[Input], instants: Collection[float], of: Collection[str]) -> list[Input]:
    """The inputs of these schedules that were due at these instants."""
    return [each for each in found if each["schedule"] in of and each["due"] in instants]
