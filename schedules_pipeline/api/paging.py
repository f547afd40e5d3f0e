"""Lists that are counted in pages, and filters that are given as JSON."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, Field

from schedules_pipeline.api.fields import storable_value
from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services.conversation_port import Direction, Span

JsonText = Annotated[str, Field(max_length=4_096)]
"""As long as a request's head has room for, when every character of it is escaped."""


class PageQuery(BaseModel):
    """Which page."""

    limit: Annotated[int, Field(ge=1, le=1_000)] = 50
    page_number: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    order_direction: Direction = Direction.DESC

    def span(self) -> Span:
        """As the use case wants it."""
        return Span(limit=self.limit, page_number=self.page_number, direction=self.order_direction)


def json_object(field: str, text: str | None) -> dict[str, Any] | None:
    """What a parameter holds that is a JSON object. Errors: InvalidInput."""
    if text is None:
        return None
    found = json_value(field, text)
    if not isinstance(found, dict):
        raise InvalidInput(field, 'must be a JSON object, such as {"team": "x"}')
    return found


def json_value(field: str, text: str) -> Any:
    """What a parameter holds that is JSON. Errors: InvalidInput."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput(
            field, "is not JSON; quote names and texts, and encode the URL"
        ) from None
    try:
        return storable_value(found)
    except ValueError as error:
        raise InvalidInput(field, str(error)) from None
