"""A clock that waits: an evaluation that finds nothing to start goes on ticking until it does.

Dagster looks at a sensor every 5 s at most, and starts at once what an evaluation returns. So an
evaluation stays up for a while, listens for what people write, and knows when the next slice may be
handed over. Each of its rounds is a whole tick, with a heartbeat of its own: what DESIGN says of a
series of ticks is said of rounds.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from itertools import count

from schedules_pipeline.domain.emission import Emission
from schedules_pipeline.services.news_port import Ear
from schedules_pipeline.services.stored import EndedRun
from schedules_pipeline.services.ticking import Clock, EndedRuns

ROUND_SECONDS = 5.0
"""At least so often it looks by itself and asks Dagster which runs ended."""
TOGETHER_SECONDS = 0.1
"""What is told within so long of a round's beginning is one round's work."""


def _always() -> bool:
    return True


class WaitingClock:
    """Ticks until there is something to start, or for `patience_seconds`."""

    def __init__(
        self,
        clock: Clock,
        ear: Callable[[], Ear],
        *,
        patience_seconds: float,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._clock = clock
        self._ear = ear
        self._patience_seconds = patience_seconds
        self._round_seconds = round_seconds
        self._numbers = count(1)
        self._latest = 0

    def tick(
        self, ended_runs: EndedRuns, is_on: Callable[[], bool] = _always
    ) -> Sequence[Emission]:
        """The Dagster runs to start; none when nothing came up, or when somebody turned it off.

        Errors: as `Clock.tick`, of any round; what was committed before stands.
        """
        # Who asked for an evaluation may be gone before it returns, and what it hands over then is
        # lost for 20 s. So the newest evaluation is the clock; older ones end with their round.
        mine = self._latest = next(self._numbers)
        ends_at = time.monotonic() + self._patience_seconds
        asked_at = float("-inf")
        with closing(self._ear()) as ear:
            while True:
                began = time.monotonic()
                if began < ends_at:
                    ear.open()  # Before the look: what comes behind it is heard.
                is_time = began - asked_at >= self._round_seconds
                asked_at = began if is_time else asked_at
                emissions = self._clock.tick(ended_runs if is_time else _nobody)
                if emissions or not self._wait(ear, began, ends_at):
                    return emissions
                if self._latest != mine or not is_on():
                    return ()

    def _wait(self, ear: Ear, began: float, ends_at: float) -> bool:
        """Until there may be something to do; False when there is no time left for it."""
        left = ends_at - time.monotonic()
        if left <= 0:
            return False
        next_at = self._clock.seconds_until_next()
        ear.wait(min(left, self._round_seconds, next_at))
        time.sleep(max(0.0, began + TOGETHER_SECONDS - time.monotonic()))
        return True


def _nobody(_since: datetime) -> Sequence[EndedRun]:
    """Dagster is not asked again within a round's length."""
    return ()
