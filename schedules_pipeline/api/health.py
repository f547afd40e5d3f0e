"""Is the process up, and can it serve?"""

from datetime import datetime
from importlib.metadata import version
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from schedules_pipeline.api.dependencies import Use, UseCases
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.errors import SchemaMissing, Unavailable
from schedules_pipeline.services.health import clock_state

VERSION = version("schedules-pipeline")

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["healthy"] = "healthy"
    version: str = VERSION
    tzdata_version: str = TZDATA_VERSION


class Readiness(BaseModel):
    """Whether requests can be served: the database and its tables decide, the clock does not."""

    status: Literal["ready", "not ready"]
    database: str
    clock: str | None = Field(
        description="`ticking`, `stopped since …: switched off …`, `stopped or stalled since …`, "
        "`never ticked`"
    )
    clock_ticked_at: datetime | None


NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Readiness}}


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers; asks nobody else."""
    return Health()


@router.get("/readyz", responses=NOT_READY)
def readyz(use: Use, response: Response) -> Readiness:
    """200 when the database can be reached and its tables are up to date, else 503."""
    readiness = _readiness(use)
    if readiness.status != "ready":
        response.status_code = 503
    return readiness


def _readiness(use: UseCases) -> Readiness:
    try:
        clock = use.wiring.store.run(clock_state)
        if not use.wiring.is_migrated():
            raise SchemaMissing
    except Unavailable as error:
        return Readiness(status="not ready", database=str(error), clock=None, clock_ticked_at=None)
    return Readiness(
        status="ready", database="ok", clock=clock.text, clock_ticked_at=clock.ticked_at
    )
