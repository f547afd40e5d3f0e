"""Routes about backfills: occurrences of the past that a person wants delivered after all."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from schedules_pipeline.api.access import Named
from schedules_pipeline.api.dependencies import Principal, Use, UseCases
from schedules_pipeline.api.errors import BAD_REQUEST, NOT_FOUND
from schedules_pipeline.api.fields import AwareInstant, Handle
from schedules_pipeline.api.routing import Route
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.backfilling import BackfillForecast, BackfillOrder
from schedules_pipeline.services.stored import Backfill

router = APIRouter(
    prefix="/agents/{agent_id}/schedules",
    tags=["backfills"],
    responses=NOT_FOUND | BAD_REQUEST,
    route_class=Route,
)
progress = APIRouter(prefix="/backfills", tags=["backfills"], responses=NOT_FOUND)


class BackfillRequest(BaseModel):
    """A range of the past; both ends are inclusive, and carry an offset."""

    from_: AwareInstant = Field(alias="from", examples=["2026-06-24T09:00:00+02:00"])
    to: AwareInstant = Field(examples=["2026-06-24T18:00:00+02:00"])
    overlap_policy: Literal["allow_all"] | None = Field(
        default=None, description="`allow_all`: at once, instead of one after another."
    )
    force: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="One more fire for what was delivered or skipped already."
    )
    dry_run: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Only say what it would do."
    )

    def to_order(self) -> BackfillOrder:
        """As the use case wants it."""
        return BackfillOrder(
            from_at=self.from_,
            to_at=self.to,
            allow_all=self.overlap_policy is not None,
            force=self.force,
        )


class BackfillShown(BaseModel):
    """A backfill and how far it has come; of a dry run, what it would do."""

    id: str | None = Field(description="null for a dry run.")
    schedule_id: str
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    dry_run: bool
    instants: int = Field(description="How many occurrences lie in the range.")
    left: int = Field(description="Of those, fires that are left as they are.")
    new: int | None = Field(default=None, description="Dry run: occurrences that get their fire.")
    redriven: int | None = Field(default=None, description="Dry run: fires taken up again.")
    forced: int | None = Field(default=None, description="Dry run: fires made once more.")
    fed: bool = Field(description="Whether all of it is in the ledger.")
    states: dict[str, int] = Field(description="Its fires, counted by state.")


@router.post("/{schedule_id}/backfill")
def start_backfill(
    agent_id: Handle, schedule_id: Handle, body: BackfillRequest, use: Use, principal: Principal
) -> BackfillShown:
    """Deliver what a range of the past did not; at most 10,000 occurrences at a time."""
    return _start(use, agent_id, schedule_id, body, principal)


@router.post("/name/{name}/backfill")
def start_backfill_by_name(
    agent_id: Handle,
    name: Handle,
    body: BackfillRequest,
    use: Use,
    find: Named,
    principal: Principal,
) -> BackfillShown:
    """As by id."""
    return _start(use, agent_id, find(use, agent_id, name), body, principal)


@progress.get("/{backfill_id}")
def get_backfill(backfill_id: Handle, use: Use) -> BackfillShown:
    """How far it has come."""
    return _shown(use.backfills.get(backfill_id))


def _start(
    use: UseCases, agent_id: str, schedule_id: str, body: BackfillRequest, principal: JsonObject
) -> BackfillShown:
    order = body.to_order()
    if body.dry_run:
        return _forecast(use.backfills.forecast(agent_id, schedule_id, order), schedule_id, order)
    return _shown(use.backfills.start(agent_id, schedule_id, order, principal))


def _forecast(forecast: BackfillForecast, schedule_id: str, order: BackfillOrder) -> BackfillShown:
    return BackfillShown(
        id=None,
        schedule_id=schedule_id,
        from_=order.from_at,
        to=order.to_at,
        dry_run=True,
        instants=forecast.instants,
        left=forecast.left,
        new=forecast.new,
        redriven=forecast.redriven,
        forced=forecast.forced,
        fed=False,
        states={},
    )


def _shown(backfill: Backfill) -> BackfillShown:
    return BackfillShown(
        id=backfill.id,
        schedule_id=backfill.schedule_id,
        from_=backfill.from_at,
        to=backfill.to_at,
        dry_run=False,
        instants=backfill.instants_count,
        left=backfill.left_count,
        fed=backfill.next_at is None,
        states=dict(backfill.states),
    )
