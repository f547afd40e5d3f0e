"""Wrong credentials, again and again."""

import pytest

from schedules_pipeline.access.throttling import (
    MOST_PER_CREDENTIAL,
    MOST_PER_SOURCE,
    PERIOD_SECONDS,
    REMEMBERED,
    FailureCount,
    Throttled,
)
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import TooManyFailures, Unauthorized, Unavailable
from schedules_pipeline.services.access_port import Presented


class OneKey:
    """Knows one key, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def authenticate(self, presented: Presented) -> JsonObject:
        self.asked += 1
        if presented.headers.get("x-api-key") == "down":
            raise Unavailable("nobody could tell")
        if presented.headers.get("x-api-key") != "right":
            raise Unauthorized
        return {"user_id": "ci"}


class Watch:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def shown(key: str, source: str = "192.0.2.1") -> Presented:
    return Presented({"x-api-key": key} if key else {}, source)


@pytest.fixture
def inner() -> OneKey:
    return OneKey()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def throttled(inner: OneKey, watch: Watch) -> Throttled:
    return Throttled(inner, watch)


def fail(throttled: Throttled, presented: Presented, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unauthorized):
            throttled.authenticate(presented)


def test_a_wrong_key_is_not_looked_at_any_more_until_the_period_is_over(
    throttled: Throttled, inner: OneKey, watch: Watch
) -> None:
    fail(throttled, shown("wrong"), MOST_PER_CREDENTIAL)
    watch.seconds += 12.5

    for _ in range(3):
        with pytest.raises(TooManyFailures) as refused:
            throttled.authenticate(shown("wrong"))
    assert refused.value.retry_after_seconds == 48
    assert str(refused.value) == (
        "Too many requests with wrong credentials: check them, and come back in 48 s."
    )
    assert inner.asked == MOST_PER_CREDENTIAL

    watch.seconds += PERIOD_SECONDS - 12.5
    fail(throttled, shown("wrong"))


def test_one_client_with_an_old_key_locks_out_nobody_but_itself(
    throttled: Throttled, watch: Watch
) -> None:
    """It repeats all day long, from the machine that others with right keys work on."""
    for _ in range(30):
        fail(throttled, shown("old"), MOST_PER_CREDENTIAL)
        with pytest.raises(TooManyFailures):
            throttled.authenticate(shown("old"))
        assert throttled.authenticate(shown("right")) == {"user_id": "ci"}
        watch.seconds += PERIOD_SECONDS


def test_one_who_tries_many_keys_is_stopped_and_its_neighbours_are_not(
    throttled: Throttled,
) -> None:
    for number in range(MOST_PER_SOURCE):
        fail(throttled, shown(f"guess {number}"))

    with pytest.raises(TooManyFailures):
        throttled.authenticate(shown("one more guess"))
    assert throttled.authenticate(shown("right", "192.0.2.2")) == {"user_id": "ci"}


def test_who_shows_nothing_and_who_could_not_be_judged_has_not_failed(
    throttled: Throttled,
) -> None:
    fail(throttled, shown(""), MOST_PER_SOURCE + 1)
    for _ in range(MOST_PER_SOURCE + 1):
        with pytest.raises(Unavailable):
            throttled.authenticate(shown("down"))

    assert throttled.authenticate(shown("right")) == {"user_id": "ci"}


def test_what_an_attacker_can_make_us_remember_is_bounded(watch: Watch) -> None:
    count = FailureCount(1, watch)
    for number in range(REMEMBERED + 10):
        count.add(f"192.0.2.{number}")

    assert len(count) == REMEMBERED
    assert count.seconds_left("192.0.2.0") == 0
    assert count.seconds_left(f"192.0.2.{REMEMBERED + 9}") == PERIOD_SECONDS
