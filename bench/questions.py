"""The questions that are asked of every contender, and how an answer is counted."""

import re
import time
from collections.abc import Iterable
from typing import Any

from bench.contenders import Place, Wanted
from bench.instants import Input, due_at, tally
from bench.report import lateness
from bench.scene import inputs
from bench.usage import Watch
from tests.agents import RunningAgent

LATE_SECONDS = 1.0
LOOK_SECONDS = 0.05
AFTERWARDS_SECONDS = 10.0
TRIGGER_SECONDS = 60.0

KEY = re.compile(rb'"event/send".*?"idempotency_key": "([^"]*)", "headers"')
"""In a line of the agent's log: the fire of an input."""

Row = dict[str, Any]


class Arrivals:
    """Counts the fires whose input reaches an agent from now on, and knows when the last one came.

    Reads its log once through and parses no JSON, so as not to slow down what is measured.
    """

    def __init__(self, agent: RunningAgent) -> None:
        self._log, self._read = agent.log_path, agent.log_path.stat().st_size
        self._fires, self.last = set[bytes](), time.time()

    def look(self) -> int:
        """How many so far; one that came twice is one."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            found = log.read()
        whole = found[: found.rfind(b"\n") + 1]
        self._read += len(whole)
        if new := KEY.findall(whole):
            self._fires.update(new)
            self.last = time.time()
        return len(self._fires)

    def wait(self, count: int, *, quiet_from: float, patience: float) -> None:
        """Until they are `count`, or for `patience` seconds none has come."""
        while self.look() < count and time.time() < max(self.last, quiet_from) + patience:
            time.sleep(LOOK_SECONDS)


def burst(place: Place, fires: int, patience: float) -> Row:
    """So many due at one instant."""
    with place.at_work(Wanted("once", fires)) as work:
        arrivals = Arrivals(place.agent)
        (instant,) = work.instants
        with Watch(work.roots) as used:
            arrivals.wait(fires, quiet_from=instant, patience=patience)
        found = due_at_instants(place.agent, work.instants)
    times = [each["at"] - instant for each in found] or [float("nan")]
    return {
        "first s": min(times),
        "last s": max(times),
        "fires/s": len(found) / max(times),
        **faults(found, fires),
        "CPU s": used.cpu,
        "peak RSS MiB": used.rss,
    }


def precision(place: Place, schedules: int, seconds: int) -> Row:
    """So many schedules every 10 s."""
    found, due = _regular(place, Wanted("every", schedules, seconds=seconds))
    return {**faults(found, due), **_late(found)}


def steady(place: Place, rate: int, seconds: int) -> Row:
    """So many fires in each second."""
    wanted = Wanted("every", rate * 10, seconds=seconds, spread=True)
    with place.at_work(wanted) as work:
        before = work.database_bytes()
        _sleep_until(work.instants[0])
        with Watch(work.roots) as used:
            _sleep_until(work.instants[-1] + 1)
        ended = time.time()
        time.sleep(AFTERWARDS_SECONDS)
        after = work.database_bytes()
        found = due_at_instants(place.agent, work.instants)
    in_time = [each for each in found if each["at"] <= ended]
    grown = None if before is None or after is None else (after - before) / wanted.due / 1024
    return {
        "due": wanted.due,
        "backlog at the end": wanted.due - len({each["fire"] for each in in_time}),
        **_late(found),
        "CPU % of a core": 100 * used.cpu / seconds,
        "peak RSS MiB": used.rss,
        "KiB per fire": grown,
    }


def trigger(place: Place, triggers: int, apart: float) -> Row:
    """One after another, by hand."""
    seconds = []
    with place.at_work(Wanted("trigger")) as work:
        for number in range(triggers):
            # Not in step with anybody's polling.
            time.sleep(apart * (0.5 + (number * 0.618) % 1))
            began = time.time()
            key = work.trigger()
            seconds.append(_arrival(place.agent, key) - began)
    return {"lost": sum(each == float("inf") for each in seconds), **lateness(seconds)}


def crash(place: Place, fires: int, patience: float, quick: bool) -> Row:
    """Killed when half of them are there. `quick`: what repeats after all are there is not seen."""
    with place.at_work(Wanted("once", fires)) as work:
        arrivals = Arrivals(place.agent)
        (instant,) = work.instants
        arrivals.wait(fires // 2, quiet_from=instant, patience=patience)
        killed_at, delivered = time.time(), arrivals.look()
        work.crash()
        back_at = time.time()
        arrivals.wait(fires if quick else fires + 1, quiet_from=back_at, patience=patience)
        found = due_at_instants(place.agent, work.instants)
    counted, last = faults(found, fires), max((each["at"] for each in found), default=killed_at)
    return {
        "delivered before": delivered,
        **counted,
        "recovered s": None if counted["lost"] else max(last - killed_at, 0.0),
    }


def _regular(place: Place, wanted: Wanted) -> tuple[list[Input], int]:
    with place.at_work(wanted) as work:
        _sleep_until(work.instants[-1] + AFTERWARDS_SECONDS)
        return due_at_instants(place.agent, work.instants), wanted.due


def due_at_instants(agent: RunningAgent, instants: Iterable[int]) -> list[Input]:
    """What was due then, whoever was asked for it."""
    wanted = set(instants)
    found = inputs(agent)
    return due_at(found, wanted, {each["schedule"] for each in found})


def faults(found: list[Input], due: int) -> Row:
    """Lost, doubled, early."""
    counted = tally(found, due)
    return {name: counted[name] for name in ("lost", "doubled", "early")}


def _late(found: list[Input]) -> dict[str, float]:
    return lateness([each["at"] - each["due"] for each in found])


def _sleep_until(instant: float) -> None:
    while (left := instant - time.time()) > 0:
        time.sleep(min(left, 5))


def _arrival(agent: RunningAgent, key: str) -> float:
    """When the input came; infinity when it did not come."""
    deadline = time.monotonic() + TRIGGER_SECONDS
    while time.monotonic() < deadline:
        for each in agent.received("event/send"):
            if each["idempotency_key"] == key:
                return float(each["at"])
        time.sleep(LOOK_SECONDS)
    return float("inf")
