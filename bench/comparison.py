"""Ours beside the best of the peers, measure by measure; and where that one is ahead."""

from collections.abc import Sequence
from typing import Any

from bench.answers import Answer, Answers
from bench.house import House
from bench.report import Table, markdown

MORE = ("fires/s",)
LESS = ("p50_ms", "p99_ms", "recovered s", "CPU s", "CPU % of a core", "peak RSS MiB")
"""Measures of which more, and less, is better; other columns are no contest."""

BESIDE = (
    "The best peer is the best of those that were asked for as many and lost nothing in it. The "
    "ratio says how many times better ours is; below 1, the peer is better."
)
AHEAD = """## Where a peer is ahead

Chosen by the figures above, not by us. What ours spends it spends on a ledger row per occurrence,
on state that is committed before and after each call, and on a Dagster run per minute that shows
what happened: neither is free.
"""

Row = dict[str, Any]


def compared(answers: Sequence[Answers]) -> list[Row]:
    """A line per question, size and measure that ours and a peer have answered."""
    return [
        line
        for of in answers
        for ours in of.answered()
        if ours.contender == House.title
        for measure in (*MORE, *LESS)
        if (line := _line(of, ours, measure))
    ]


def comparison(answers: Sequence[Answers]) -> str:
    """Both sections; nothing when there is nothing to compare."""
    rows = compared(answers)
    if not rows:
        return ""
    table = Table("Ours beside the best peer", rows, BESIDE)
    behind = [_sentence(row) for row in rows if row["ratio"] < 1]
    said = "\n".join(behind) or "Nowhere in these figures."
    return f"\n{markdown([vars(table)])}\n{AHEAD}\n{said}\n"


def _line(of: Answers, ours: Answer, measure: str) -> Row | None:
    mine = ours.row.get(measure)
    peers = [
        (found, each)
        for each in of.answered()
        if each.contender != House.title and each.case == ours.case and not each.row["lost"]
        if isinstance(found := each.row.get(measure), float)
    ]
    if not isinstance(mine, float) or not peers:
        return None
    best, peer = (max if measure in MORE else min)(peers, key=lambda each: each[0])
    ratio = mine / best if measure in MORE else best / mine if mine else float("inf")
    return {
        "question": of.title,
        "size": f"{ours.case:,} {of.unit}",
        "measure": measure,
        "ours": mine,
        "best peer": peer.contender,
        "its": best,
        "ratio": round(ratio, 2),
    }


def _sentence(row: Row) -> str:
    return (
        f"* {row['question']}, {row['size']}, {row['measure']}: ours {row['ours']:g}, "
        f"{row['best peer']} {row['its']:g}."
    )
