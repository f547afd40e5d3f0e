"""When the host's time of day counts as set back."""

from schedules_pipeline.dev.host_clock import HostClock


class Time:
    """One that passes, and one of day."""

    def __init__(self) -> None:
        self.passed = 100.0
        self.day = 1_000_000.0

    def passes(self, seconds: float, *, jump: float = 0.0) -> None:
        self.passed += seconds
        self.day += seconds + jump


def test_it_says_once_by_how_much_it_was_set_back() -> None:
    time = Time()
    clock = HostClock(lambda: time.day, lambda: time.passed)

    time.passes(1)
    assert clock.set_back_seconds() == 0
    time.passes(1, jump=-3_600)
    assert clock.set_back_seconds() == 3_600
    time.passes(1)
    assert clock.set_back_seconds() == 0


def test_a_clock_set_ahead_and_a_time_services_corrections_are_no_setting_back() -> None:
    time = Time()
    clock = HostClock(lambda: time.day, lambda: time.passed)

    time.passes(1, jump=86_400)
    assert clock.set_back_seconds() == 0
    time.passes(1, jump=-0.5)
    assert clock.set_back_seconds() == 0


def test_a_clock_set_ahead_and_back_again_was_set_back() -> None:
    time = Time()
    clock = HostClock(lambda: time.day, lambda: time.passed)
    time.passes(1, jump=45)
    clock.set_back_seconds()

    time.passes(1, jump=-45)

    assert clock.set_back_seconds() == 45
