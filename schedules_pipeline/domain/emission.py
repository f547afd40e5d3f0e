"""Which slices to hand to Dagster now: one rule for first starts, late joiners and healing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_SLICES_PER_TICK = 3
MAX_MADE_UP_SLICES_PER_TICK = 1
FIRST_RETRY = timedelta(seconds=20)
LONGEST_RETRY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwingSlice:
    """A slice that owes something and that nobody works."""

    key: str
    kind: str
    live: bool
    starts_at: datetime
    emit_count: int
    fire_count: int
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """One Dagster run to start. `slice_key` is its partition key, `run_key` starts one run."""

    slice_key: str
    run_key: str
    kind: str
    fire_count: int
    agent: str | None
    emit_after: datetime


def choose(owing: Iterable[OwingSlice], now: datetime) -> Sequence[Emission]:
    """At most three, earliest first, at most one of them not a live minute.

    A tick lasts until Dagster has started all its runs (3 s each), so a backlog must never stand
    before a minute that people wait for.
    """
    chosen: list[Emission] = []
    made_up = 0
    for each in sorted(owing, key=lambda s: (not s.live, s.starts_at, s.key)):
        if len(chosen) == MAX_SLICES_PER_TICK:
            break
        if not each.live:
            if made_up == MAX_MADE_UP_SLICES_PER_TICK:
                continue
            made_up += 1
        chosen.append(_emission(each, now))
    return chosen


def _emission(owing: OwingSlice, now: datetime) -> Emission:
    suffix = f"/retry-{owing.emit_count}" if owing.emit_count else ""
    return Emission(
        slice_key=owing.key,
        run_key=owing.key + suffix,
        kind=owing.kind,
        fire_count=owing.fire_count,
        agent=owing.agents[0] if len(owing.agents) == 1 else None,
        emit_after=now + retry_wait(owing.emit_count),
    )


def retry_wait(emit_count: int) -> timedelta:
    """20 s after the first emission, doubling up to 10 min: a bad deploy is not hammered at."""
    doublings = 1 << min(emit_count, 10)
    return min(FIRST_RETRY * doublings, LONGEST_RETRY)
