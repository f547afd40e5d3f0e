"""The audit of a schedule, and the fires that are past due and not final."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from schedules_pipeline.api.access import Named, Permitted
from schedules_pipeline.api.dependencies import Use
from schedules_pipeline.api.errors import NOT_FOUND
from schedules_pipeline.api.fields import Handle, Instant
from schedules_pipeline.api.routing import Route
from schedules_pipeline.api.schemas import FireRow
from schedules_pipeline.domain.coverage import Coverage, Stretch

router = APIRouter(
    prefix="/agents/{agent_id}/schedules",
    tags=["audit"],
    responses=NOT_FOUND,
    route_class=Route,
)
fires = APIRouter(prefix="/fires", tags=["fires"], route_class=Route)

From = Annotated[Instant | None, Query(alias="from")]
Limit = Annotated[int, Query(ge=1, le=1_000)]


class AuditedOccurrence(BaseModel):
    """One occurrence and what became of it."""

    nominal_at: datetime
    fire_id: str | None = Field(description="Null where it has no row of its own.")
    state: str = Field(
        description="The fire's. Without one: `missed` (a gap holds it), `held` (due, and the "
        "clock stands before it), `upcoming`."
    )
    reason: str | None


class AuditedStretch(BaseModel):
    """A stretch of the audit, in which nothing was owed."""

    from_: datetime = Field(alias="from")
    to: datetime

    @classmethod
    def of(cls, stretch: Stretch) -> "AuditedStretch":
        """As it is shown."""
        return cls.model_validate({"from": stretch.since, "to": stretch.until})


class Audit(BaseModel):
    """Every occurrence of a stretch, in order."""

    occurrences: list[AuditedOccurrence]
    holes: list[datetime] = Field(description="Nothing explains these. There must be none.")
    paused: list[AuditedStretch]
    exhausted: list[AuditedStretch] = Field(description="After the last of `max_fires`.")

    @classmethod
    def of(cls, coverage: Coverage) -> "Audit":
        """As it is shown."""
        return cls(
            occurrences=[
                AuditedOccurrence(
                    nominal_at=each.nominal_at,
                    fire_id=each.fire_id,
                    state=each.state,
                    reason=each.reason,
                )
                for each in coverage.occurrences
            ],
            holes=list(coverage.holes),
            paused=[AuditedStretch.of(each) for each in coverage.paused],
            exhausted=[AuditedStretch.of(each) for each in coverage.exhausted],
        )


class OverdueFires(BaseModel):
    """Earliest due first."""

    fires: list[FireRow]


@router.get("/{schedule_id}/audit")
def audit(
    agent_id: Handle, schedule_id: Handle, use: Use, from_: From = None, to: Instant | None = None
) -> Audit:
    """From `from` (a day before `to`) to `to` (now), both included; a deleted schedule too."""
    return Audit.of(use.audits.of_schedule(agent_id, schedule_id, from_, to))


@router.get("/name/{name}/audit")
def audit_by_name(
    agent_id: Handle,
    name: Handle,
    use: Use,
    find: Named,
    from_: From = None,
    to: Instant | None = None,
) -> Audit:
    """As by id, of the schedule that has this name now."""
    schedule_id = find(use, agent_id, name)
    return Audit.of(use.audits.of_schedule(agent_id, schedule_id, from_, to))


@fires.get("/overdue")
def overdue(use: Use, only: Permitted, limit: Limit = 100) -> OverdueFires:
    """Every fire past due and not final: under way, held back by a switch, or in trouble."""
    found = use.audits.overdue(limit=limit, only=only)
    return OverdueFires(fires=[FireRow.of(fire) for fire in found])
