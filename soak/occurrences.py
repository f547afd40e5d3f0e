"""What had to happen, computed without a line of the product: plain arithmetic, and cronsim."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim


@dataclass(frozen=True, slots=True)
class Expected:
    """A schedule of the soak: when it began (its `created_at`), and its cadence."""

    schedule_id: str
    agent_id: str
    began: datetime
    interval_seconds: int | None = None
    cron_expression: str | None = None
    timezone: str = "UTC"

    def occurrences(self, until: datetime) -> Iterator[datetime]:
        """Each instant after its beginning, up to `until`."""
        if self.interval_seconds is not None:
            return _every(self.interval_seconds, self.began, until)
        assert self.cron_expression is not None
        return _by_cron(self.cron_expression, self.timezone, self.began, until)


def _every(seconds: int, since: datetime, until: datetime) -> Iterator[datetime]:
    """Multiples of the interval, counted from the Unix epoch."""
    step = int(since.timestamp()) // seconds + 1
    while (at := datetime.fromtimestamp(step * seconds, UTC)) <= until:
        yield at
        step += 1


def _by_cron(expression: str, zone: str, since: datetime, until: datetime) -> Iterator[datetime]:
    # cronsim takes whole minutes, and answers with what comes later.
    begin = (since - timedelta(minutes=1)).astimezone(ZoneInfo(zone)).replace(second=0)
    for at in CronSim(expression, begin.replace(microsecond=0)):
        instant = at.astimezone(UTC)
        if instant > until:
            return
        if instant > since:
            yield instant
