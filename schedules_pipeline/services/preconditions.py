"""What a caller believes of a schedule that it is about to change."""

from dataclasses import dataclass

from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.errors import Stale


@dataclass(frozen=True, slots=True)
class Expected:
    """The versions that the change is meant for; None: whatever it is now."""

    versions: frozenset[int] | None = None

    def require(self, schedule: Schedule) -> None:
        """To be asked under the schedule's mutex, else another may edit behind the answer.

        Errors: Stale.
        """
        if self.versions is not None and schedule.version not in self.versions:
            raise Stale(schedule.id, schedule.version)


ANY = Expected()
