"""Which slices are handed to Dagster, and when again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_pipeline.domain.emission import OwingSlice, choose, retry_wait

NOON = datetime(2026, 6, 24, 12, 0, tzinfo=UTC)


def owing(key: str, **changes: Any) -> OwingSlice:
    values: dict[str, Any] = {
        "key": key,
        "kind": "minute",
        "live": True,
        "starts_at": NOON,
        "owes_inputs": True,
        "emit_count": 0,
        "fruitless_count": 0,
        "fire_count": 1,
        "agents": ("reporter",),
    }
    return OwingSlice(**(values | changes))


def chosen(*slices: OwingSlice) -> list[str]:
    return [emission.slice_key for emission in choose(slices, NOON)]


def test_at_most_three_go_out_earliest_first() -> None:
    many = [owing(f"m{n}", starts_at=NOON + timedelta(minutes=n)) for n in (4, 1, 3, 2, 0)]
    assert chosen(*many) == ["m0", "m1", "m2"]


def test_beside_live_ones_one_is_made_up_and_stands_behind_them_without_them_two() -> None:
    old = [owing(f"old{n}", live=False, starts_at=NOON - timedelta(hours=n)) for n in (1, 2, 3)]
    assert chosen(*old) == ["old3", "old2"]
    assert chosen(*old, owing("m0")) == ["m0", "old3"]
    live = [owing(f"m{n}", starts_at=NOON + timedelta(minutes=n)) for n in range(3)]
    assert chosen(*old, *live) == ["m0", "m1", "m2"]


def test_what_owes_inputs_goes_before_what_owes_only_records() -> None:
    records = owing("r", live=False, owes_inputs=False, starts_at=NOON - timedelta(hours=3))
    inputs = owing("i", live=False, starts_at=NOON - timedelta(hours=1))
    assert chosen(records, inputs) == ["i", "r"]
    assert chosen(records, inputs, owing("m0")) == ["m0", "i"]


def test_the_first_run_key_is_the_slices_and_later_ones_are_others() -> None:
    keys = [
        emission.run_key
        for count in range(3)
        for emission in choose([owing("m", emit_count=count)], NOON)
    ]
    assert keys == ["m", "m/retry-1", "m/retry-2"]


def test_the_agent_is_named_when_it_is_one() -> None:
    one, two = (choose([owing("m", agents=agents)], NOON)[0] for agents in (("a",), ("a", "b")))
    assert (one.agent, two.agent) == ("a", None)


@pytest.mark.parametrize(
    ("fruitless_count", "seconds"),
    [(0, 20), (1, 40), (2, 80), (3, 160), (4, 320), (5, 600), (6, 600), (5_000, 600)],
)
def test_the_wait_after_an_emission_doubles_up_to_ten_minutes(
    fruitless_count: int, seconds: int
) -> None:
    assert retry_wait(fruitless_count) == timedelta(seconds=seconds)
    (emission,) = choose([owing("m", fruitless_count=fruitless_count)], NOON)
    assert emission.emit_after == NOON + timedelta(seconds=seconds)
