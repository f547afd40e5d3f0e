"""The host's time of day, watched for being set back."""

import time
from collections.abc import Callable

# Less is how a time service corrects a clock, and no harm.
SET_BACK_SECONDS = 2.0


class HostClock:
    """Compares the time of day with time that only passes."""

    def __init__(
        self,
        time_of_day: Callable[[], float] = time.time,
        passing: Callable[[], float] = time.monotonic,
    ) -> None:
        self._time_of_day = time_of_day
        self._passing = passing
        self._ahead = self._difference()

    def set_back_seconds(self) -> float:
        """By how much it was set back since it was asked last; 0 when it was not."""
        before, self._ahead = self._ahead, self._difference()
        back = before - self._ahead
        return back if back > SET_BACK_SECONDS else 0.0

    def _difference(self) -> float:
        return self._time_of_day() - self._passing()
