"""What a tree of processes uses: processor time, memory. Read from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Usage:
    """`cpu`: seconds since their start, of all that were waited for too. `rss`, `pss`: MiB."""

    cpu: float
    rss: float
    pss: float
    processes: int


def usage_below(root: int) -> Usage:
    """Of a process and all that descend from it.

    A child that is gone stands in its parent's account, so nobody's time is lost or counted twice.
    """
    rows = _stats()
    below, found = {root}, [root]
    for pid in found:
        children = [each for each, row in rows.items() if row[1] == pid and each not in below]
        below.update(children)
        found += children
    mine = [pid for pid in found if pid in rows]
    return Usage(
        cpu=sum(sum(rows[pid][11:15]) for pid in mine) / TICKS,
        rss=sum(rows[pid][21] for pid in mine) * PAGE_MIB,
        pss=sum(_pss(pid) for pid in mine),
        processes=len(mine),
    )


def _stats() -> dict[int, list[int]]:
    """The numbers of each process's `stat`, counted from its state on: [1] is the parent."""
    rows = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            fields = text.rpartition(")")[2].split()
            rows[int(entry.name)] = [0, *map(int, fields[1:])]
    return rows


def _pss(pid: int) -> float:
    """Memory, shared pages divided among those who share them; 0 when it is gone."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
