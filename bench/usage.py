"""What trees of processes use: processor time, memory. Read from /proc."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Usage:
    """`cpu`: seconds since their start, of all that were waited for too. `rss`, `pss`: MiB."""

    cpu: float
    rss: float
    pss: float
    processes: int


def usage_below(*roots: int) -> Usage:
    """Of these processes and all that descend from them.

    A child that is gone stands in its parent's account, so nobody's time is lost or counted twice.
    """
    return together(usage_of_each(*roots).values())


def usage_of_each(*roots: int) -> dict[int, Usage]:
    """The same, of each by its pid; who was waited for counts as whoever waited."""
    rows = _stats()
    return {
        pid: Usage(_cpu(rows[pid]), rows[pid][21] * PAGE_MIB, _pss(pid), 1)
        for pid in _below(roots, rows)
    }


def together(each: Iterable[Usage]) -> Usage:
    """Their sum."""
    found = list(each)
    return Usage(
        cpu=sum(one.cpu for one in found),
        rss=sum(one.rss for one in found),
        pss=sum(one.pss for one in found),
        processes=sum(one.processes for one in found),
    )


def descendants(*roots: int) -> list[int]:
    """These processes and all that descend from them, as far as they are there."""
    return _below(roots, _stats())


def _below(roots: Sequence[int], rows: dict[int, list[int]]) -> list[int]:
    found = list(dict.fromkeys(roots))
    for pid in found:
        found += [each for each, row in rows.items() if row[1] == pid and each not in found]
    return [pid for pid in found if pid in rows]


class Watch:
    """What trees of processes use while a block lasts: `cpu` seconds, `rss` MiB at the highest.

    Looks every second, in a thread. `roots` is asked each time: a restarted process has a new pid.
    """

    def __init__(self, roots: Callable[[], Sequence[int]]) -> None:
        self.cpu = self.rss = 0.0
        self._roots, self._over = roots, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._before = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.cpu = self._cpu() - self._before

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            rows = _stats()
            pages = sum(rows[pid][21] for pid in _below(self._roots(), rows))
            self.rss = max(self.rss, pages * PAGE_MIB)

    def _cpu(self) -> float:
        rows = _stats()
        return sum(_cpu(rows[pid]) for pid in _below(self._roots(), rows))


def _cpu(row: list[int]) -> float:
    return sum(row[11:15]) / TICKS


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
