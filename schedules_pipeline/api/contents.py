"""What can be said in a task: the five kinds of content, as Agentex has them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, StrictBool, Tag

from schedules_pipeline.api.fields import STORABLE, WHOLE, Json, storable_value
from schedules_pipeline.api.schemas import MAX_CONTENT

Short = Annotated[str, Field(max_length=1_000), STORABLE]
Long = Annotated[str, Field(max_length=MAX_CONTENT), STORABLE]
MOST_PARTS = 100


class Content(BaseModel):
    """What all of them have: who says it, and how it is shown."""

    author: Literal["user", "agent"] = "user"
    style: Literal["static", "active"] = "static"


class Attachment(BaseModel):
    """A file that is kept elsewhere."""

    file_id: Short
    name: Short
    size: Annotated[int, Field(ge=0, le=2**53), WHOLE]
    type: Short


class TextContent(Content):
    """Text."""

    type: Literal["text"] = "text"
    format: Literal["markdown", "plain", "code"] = "plain"
    content: Long
    attachments: Annotated[list[Attachment], Field(max_length=MOST_PARTS)] | None = None


class DataContent(Content):
    """An object."""

    type: Literal["data"]
    data: Json


class ToolRequestContent(Content):
    """A tool is called."""

    type: Literal["tool_request"]
    tool_call_id: Short
    name: Short
    arguments: Json


class ToolResponseContent(Content):
    """What it answered."""

    type: Literal["tool_response"]
    tool_call_id: Short
    name: Short
    content: Annotated[Any, AfterValidator(storable_value)]
    is_error: StrictBool | None = None


class ReasoningContent(Content):
    """What was thought."""

    type: Literal["reasoning"]
    summary: Annotated[list[Long], Field(max_length=MOST_PARTS)]
    content: Annotated[list[Long], Field(max_length=MOST_PARTS)] | None = None


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("type", "text"))
    return str(getattr(value, "type", None))


AnyContent = Annotated[
    Annotated[TextContent, Tag("text")]
    | Annotated[DataContent, Tag("data")]
    | Annotated[ToolRequestContent, Tag("tool_request")]
    | Annotated[ToolResponseContent, Tag("tool_response")]
    | Annotated[ReasoningContent, Tag("reasoning")],
    Discriminator(
        _kind,
        custom_error_type="unknown_content",
        custom_error_message="type must be text, data, tool_request, tool_response or reasoning",
    ),
]
