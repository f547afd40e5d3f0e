"""Preview of a cadence that need not be saved."""

from fastapi import APIRouter

from schedules_pipeline.api.dependencies import Use
from schedules_pipeline.api.routing import RepeatableRoute
from schedules_pipeline.api.schemas import Preview, PreviewRequest
from schedules_pipeline.services.previewing import Span

router = APIRouter(prefix="/schedules", tags=["preview"], route_class=RepeatableRoute)


@router.post("/preview")
def preview(body: PreviewRequest, use: Use) -> Preview:
    """The next `count` occurrences, the cadence in English, and what may surprise about it."""
    span = Span(after=body.from_, count=body.count)
    return Preview.of(use.previews.of_cadence(body.to_cadence(), span))
