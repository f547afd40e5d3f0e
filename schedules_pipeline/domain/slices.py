"""Slices: the fires that one Dagster run works, and how each is named."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from schedules_pipeline.errors import InvalidInput

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
JOINED_LATER = timedelta(seconds=30)
"""How long after its hour a standby still takes what comes, if the next one is not up by then."""
STANDS_LONGER = timedelta(seconds=45)
"""How long after its hour it stays up: longer than any write that chose it may take to commit."""


class SliceKind(StrEnum):
    """Why a slice exists. `minute`, `sync` and `now` are the live ones."""

    MINUTE = "minute"
    SYNC = "sync"
    BACKLOG = "backlog"
    MISSED = "missed"
    NOW = "now"


OF_AN_HOUR = frozenset({SliceKind.MISSED, SliceKind.NOW})


@dataclass(frozen=True, slots=True)
class Slice:
    """One unit of work. `key` is the Dagster partition key and the first run key."""

    kind: SliceKind
    starts_at: datetime

    @property
    def key(self) -> str:
        """E.g. `2026-06-24T09:00:00Z`, `2026-06-24T09:00:00Z/sync`, `…Z/backlog`."""
        stamp = utc_stamp(self.starts_at)
        return stamp if self.kind is SliceKind.MINUTE else f"{stamp}/{self.kind.value}"

    @property
    def ends_at(self) -> datetime:
        """The first instant that is no longer this slice's."""
        return self.starts_at + (HOUR if self.kind in OF_AN_HOUR else MINUTE)

    @property
    def worked_until(self) -> datetime:
        """Until when its run stays up although it owes nothing: what is live may get more."""
        if self.kind is SliceKind.NOW:
            return self.ends_at + STANDS_LONGER
        return self.starts_at if self.kind is SliceKind.MISSED else self.ends_at


def utc_stamp(instant: datetime) -> str:
    """An instant as ISO-8601 in whole seconds with `Z`: `2026-06-24T09:00:00Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def floor_minute(instant: datetime) -> datetime:
    """The beginning of the minute that `instant` lies in."""
    return instant.astimezone(UTC).replace(second=0, microsecond=0)


def floor_hour(instant: datetime) -> datetime:
    """The beginning of the hour that `instant` lies in."""
    return floor_minute(instant).replace(minute=0)


def standby_slices(now: datetime, horizon: timedelta) -> set[Slice]:
    """Those of the hours that a standby worker is wanted for: this one, and one within reach."""
    return {Slice(SliceKind.NOW, floor_hour(at)) for at in (now, now + horizon)}


def present_slice(now: datetime, *, answers_in_turn: bool) -> Slice:
    """The live minute's slice for such an agent."""
    kind = SliceKind.SYNC if answers_in_turn else SliceKind.MINUTE
    return Slice(kind, floor_minute(now))


def slice_for(
    due_at: datetime,
    *,
    answers_in_turn: bool,
    now: datetime,
    grace: timedelta,
    crowded: Slice | None = None,
) -> Slice:
    """The slice that a fire belongs to.

    `answers_in_turn`: the agent is synchronous; its turns may take minutes, so they must not hold
    up the audit of the others. What is late beyond the grace goes into the backlog of the present
    minute, so that it never stands in the way of a live minute. `crowded`: so many Dagster runs
    wait for synchronous agents already that this one's takes on what such agents are due next.
    """
    if due_at < now - grace:
        return Slice(SliceKind.BACKLOG, floor_minute(now))
    if answers_in_turn and crowded is not None:
        return crowded
    return present_slice(due_at, answers_in_turn=answers_in_turn)


def planning_frontier(now: datetime, horizon: timedelta) -> datetime:
    """The end of the minute that begins within the horizon: what is due before it is planned."""
    return floor_minute(now + horizon) + MINUTE


def slice_of(key: str) -> Slice:
    """The slice of that key.

    Errors: InvalidInput when the key is no slice's.
    """
    stamp, _, kind = key.partition("/")
    try:
        starts_at = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        return Slice(SliceKind(kind or SliceKind.MINUTE), starts_at)
    except ValueError:
        raise InvalidInput(
            "partition", f"{key!r} is no slice key, such as 2026-06-24T09:00:00Z"
        ) from None
