"""What a schedule's creator must still be allowed to do for its fire to go out.

Asked anew for each attempt, right before each of its steps: what was taken away meanwhile counts.
"""

import logging
from collections.abc import Awaitable

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import DeliveryError, PermissionDenied, SchedulesError
from schedules_pipeline.services.access_port import FireAccess, Operation, Resource
from schedules_pipeline.services.platform_port import Assignment

log = logging.getLogger(__name__)


class AccessUnavailable(DeliveryError):
    """Nobody could say whether the creator may: unchecked, nothing is delivered."""

    reason = "access_unavailable"


class Permission:
    """One fire's. Each question raises PermissionDenied, or AccessUnavailable for all else."""

    def __init__(self, access: FireAccess, creator: JsonObject, assignment: Assignment) -> None:
        self._access = access
        self._creator = creator
        self._agent = Resource.agent(assignment.agent.id)
        self._task = Resource.task(assignment.task.id)

    async def to_start(self) -> None:
        """May the creator set this agent to work, and make a task?"""
        await self.to_go_on()
        await self._may(Resource.task(), Operation.CREATE)

    async def to_go_on(self) -> None:
        """May the creator set this agent to work? Its task was made by an earlier attempt."""
        await self._may(self._agent, Operation.EXECUTE)

    async def task_made(self) -> None:
        """The task is the creator's. Said before `task_created` is committed: who takes the fire
        over before that makes the task, and says so, once more."""
        await self._answered(self._access.register(self._creator, self._task, self._agent))

    async def to_send(self) -> None:
        """May the creator speak to this very task?"""
        await self._may(self._task, Operation.UPDATE)

    async def _may(self, resource: Resource, operation: Operation) -> None:
        await self._answered(self._access.check(self._creator, resource, operation))

    async def _answered(self, question: Awaitable[None]) -> None:
        try:
            await question
        except PermissionDenied:
            raise
        except SchedulesError as error:
            raise AccessUnavailable(str(error)) from error
        except Exception as error:
            log.exception("access: a defect in the scheduler")
            raise AccessUnavailable(
                "Whether the schedule's creator may start this cannot be told: "
                f"{type(error).__name__}; see the run's log."
            ) from error
