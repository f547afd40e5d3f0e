"""Slices: the names of units of work, and which fire belongs to which."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schedules_pipeline.domain.slices import (
    JOINED_LATER,
    Slice,
    SliceKind,
    floor_minute,
    planning_frontier,
    slice_for,
    slice_of,
    standby_slices,
    utc_stamp,
)
from schedules_pipeline.errors import InvalidInput

NOON = datetime(2026, 6, 24, 12, 0, tzinfo=UTC)
GRACE = timedelta(seconds=60)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (SliceKind.MINUTE, "2026-06-24T12:00:00Z"),
        (SliceKind.SYNC, "2026-06-24T12:00:00Z/sync"),
        (SliceKind.BACKLOG, "2026-06-24T12:00:00Z/backlog"),
        (SliceKind.MISSED, "2026-06-24T12:00:00Z/missed"),
        (SliceKind.NOW, "2026-06-24T12:00:00Z/now"),
    ],
)
def test_a_key_names_minute_and_kind_and_says_when_the_slice_ends(
    kind: SliceKind, key: str
) -> None:
    made = Slice(kind, NOON)
    assert made.key == key
    of_an_hour = kind in (SliceKind.MISSED, SliceKind.NOW)
    lasts = timedelta(hours=1) if of_an_hour else timedelta(minutes=1)
    assert slice_of(key).ends_at == made.ends_at == NOON + lasts


def test_a_standby_stays_up_longer_than_anything_may_join_it() -> None:
    standby = Slice(SliceKind.NOW, NOON)
    assert standby.worked_until - standby.ends_at > JOINED_LATER


@pytest.mark.parametrize(
    ("minute", "second", "hours"),
    [(0, 0, [12]), (59, 29, [12]), (59, 30, [12, 13]), (59, 59, [12, 13])],
)
def test_a_standby_is_wanted_for_this_hour_and_for_one_that_begins_within_the_horizon(
    minute: int, second: int, hours: list[int]
) -> None:
    now = NOON.replace(minute=minute, second=second)
    wanted = standby_slices(now, timedelta(seconds=30))
    assert sorted(s.key for s in wanted) == [f"2026-06-24T{hour}:00:00Z/now" for hour in hours]


@pytest.mark.parametrize("key", ["", "today", "2026-06-24T12:00:00Z/later", "2026-06-24"])
def test_what_is_no_slices_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput, match="is no slice key, such as 2026-06-24T09:00:00Z"):
        slice_of(key)


def test_stamps_and_minutes_are_those_of_utc() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    local = datetime(2026, 6, 24, 17, 45, 59, 999_999, tzinfo=kathmandu)
    assert utc_stamp(local) == "2026-06-24T12:00:59Z"
    assert floor_minute(local) == NOON


@pytest.mark.parametrize(
    ("due", "answers_in_turn", "expected"),
    [
        (NOON + timedelta(seconds=59, microseconds=999_999), False, "2026-06-24T12:00:00Z"),
        (NOON + timedelta(minutes=1), False, "2026-06-24T12:01:00Z"),
        (NOON, True, "2026-06-24T12:00:00Z/sync"),
        # Exactly the grace late is late, not missed.
        (NOON - timedelta(seconds=30), False, "2026-06-24T11:59:00Z"),
        (NOON - timedelta(seconds=30, microseconds=1), False, "2026-06-24T12:00:00Z/backlog"),
        (NOON - timedelta(hours=1), True, "2026-06-24T12:00:00Z/backlog"),
    ],
)
def test_a_fire_goes_to_the_minute_it_is_due_in_or_to_the_present_backlog(
    due: datetime, answers_in_turn: bool, expected: str
) -> None:
    now = NOON + timedelta(seconds=30)
    found = slice_for(due, answers_in_turn=answers_in_turn, now=now, grace=GRACE)
    assert found.key == expected


@pytest.mark.parametrize(("second", "minutes"), [(0, 1), (29, 1), (30, 2), (59, 2)])
def test_the_frontier_is_the_end_of_the_minute_that_begins_within_the_horizon(
    second: int, minutes: int
) -> None:
    found = planning_frontier(NOON + timedelta(seconds=second), timedelta(seconds=30))
    assert found == NOON + timedelta(minutes=minutes)
