"""Which slices to hand to Dagster now: one rule for first starts, late joiners and healing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schedules_pipeline.domain.slices import planning_frontier

MAX_SLICES_PER_TICK = 3
MAX_MADE_UP_SLICES_PER_TICK = 1
MAX_MADE_UP_SLICES_ALONE = 2
"""When no live minute waits for its run."""
FIRST_RETRY = timedelta(seconds=20)
LONGEST_RETRY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwingSlice:
    """A slice that owes something and that nobody works.

    `owes_inputs`: not only the record of what ended. `fruitless_count`: how often it was emitted
    since a run of it last got anything done.
    """

    key: str
    kind: str
    live: bool
    starts_at: datetime
    owes_inputs: bool
    emit_count: int
    fruitless_count: int
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
    """At most three: live minutes, then what owes inputs, then what owes records; earliest first.

    A tick lasts until Dagster has started all its runs (3 s each, more on a busy machine), so a
    backlog must never stand before a minute that people wait for: beside live minutes one slice
    goes out that is none, without them two.
    """
    waiting = list(owing)
    most_made_up = (
        MAX_MADE_UP_SLICES_PER_TICK if any(s.live for s in waiting) else MAX_MADE_UP_SLICES_ALONE
    )
    chosen: list[Emission] = []
    made_up = 0
    for each in sorted(waiting, key=lambda s: (not s.live, not s.owes_inputs, s.starts_at, s.key)):
        if len(chosen) == MAX_SLICES_PER_TICK:
            break
        if not each.live:
            if made_up == most_made_up:
                continue
            made_up += 1
        chosen.append(_emission(each, now))
    return chosen


def next_look(now: datetime, horizon: timedelta, next_emission: datetime | None) -> datetime:
    """When a tick has something new to see: a slice comes within reach, or another minute does."""
    frontier_moves = planning_frontier(now, horizon) - horizon
    return frontier_moves if next_emission is None else min(frontier_moves, next_emission)


def _emission(owing: OwingSlice, now: datetime) -> Emission:
    suffix = f"/retry-{owing.emit_count}" if owing.emit_count else ""
    return Emission(
        slice_key=owing.key,
        run_key=owing.key + suffix,
        kind=owing.kind,
        fire_count=owing.fire_count,
        agent=owing.agents[0] if len(owing.agents) == 1 else None,
        emit_after=now + retry_wait(owing.fruitless_count),
    )


def retry_wait(fruitless_count: int) -> timedelta:
    """20 s after the first emission, doubling up to 10 min: a bad deploy is not hammered at.

    A run that was killed after it got something done is no bad deploy: it counts anew.
    """
    doublings = 1 << min(fruitless_count, 10)
    return min(FIRST_RETRY * doublings, LONGEST_RETRY)
