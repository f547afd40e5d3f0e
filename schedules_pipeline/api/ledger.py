"""Routes about what happened: fires, and who changed a schedule."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from schedules_pipeline.api.access import Permitted
from schedules_pipeline.api.dependencies import Use
from schedules_pipeline.api.errors import NOT_FOUND
from schedules_pipeline.api.fields import Handle, Instant
from schedules_pipeline.api.routing import Route
from schedules_pipeline.api.schemas import FireList, FireRow
from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.services.stored import FireFilter, FirePage, RecordedChange

router = APIRouter(
    prefix="/agents/{agent_id}/schedules",
    tags=["ledger"],
    responses=NOT_FOUND,
    route_class=Route,
)
fires = APIRouter(prefix="/fires", tags=["ledger"], route_class=Route)

Limit = Annotated[int, Field(ge=1, le=1_000)]
Cursor = Annotated[str, Field(max_length=1_000)]


class Page(BaseModel):
    """How much of a list, and from where on."""

    limit: Limit = 100
    cursor: Cursor | None = Field(
        default=None, description="The `next_cursor` of the page before; it survives inserts."
    )


class FireQuery(Page):
    """Which fires; those that fit everything that is said. `state` and others may be repeated."""

    state: list[FireState] = []
    reason: list[FireReason] = []
    trigger_type: list[TriggerType] = []
    from_: Instant | None = Field(
        default=None, alias="from", description="Nominal time, inclusive."
    )
    to: Instant | None = Field(default=None, description="Nominal time, exclusive.")

    def to_filter(
        self,
        agent_id: str | None = None,
        schedule_id: str | None = None,
        only: frozenset[str] | None = None,
    ) -> FireFilter:
        """As the use case wants it; `only`: of no schedules but those that the caller may see."""
        return FireFilter(
            agent_id=agent_id,
            schedule_id=schedule_id,
            only=only,
            states=frozenset(self.state),
            reasons=frozenset(self.reason),
            trigger_types=frozenset(self.trigger_type),
            from_at=self.from_,
            to_at=self.to,
        )


class AllFiresQuery(FireQuery):
    """The same across schedules, deleted ones too."""

    agent_id: Handle | None = None
    schedule_id: Handle | None = None


class FireShown(FireRow):
    """One fire, and what became of it after its delivery."""

    task_status: str | None = Field(
        description="What the agent platform says of the task now; null: there is none."
    )


class ChangeRow(BaseModel):
    """Who changed what. `before` and `after` are the whole definition."""

    version: int
    operation: str
    actor: dict[str, Any]
    at: datetime
    reason: str | None = Field(description="Why, when nobody asked for it.")
    note: str | None = Field(description="What the person said; the occurrence that was skipped.")
    tzdata_version: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def of(cls, change: RecordedChange) -> "ChangeRow":
        """As it is shown."""
        return cls(**{name: getattr(change, name) for name in cls.model_fields})


class ChangeList(BaseModel):
    """Newest first; `next_cursor` is null on the last page."""

    changes: list[ChangeRow]
    next_cursor: str | None


@router.get("/{schedule_id}/fires")
def list_fires(
    agent_id: Handle, schedule_id: Handle, query: Annotated[FireQuery, Query()], use: Use
) -> FireList:
    """The ledger: every occurrence and what became of it, planned ones included.

    Asked for a state, a reason or a trigger type, a page looks at 10,000 fires at most: it may be
    short, even empty. There is more while `next_cursor` is not null.
    """
    wanted = query.to_filter()
    return _list(
        use.ledger.fires(agent_id, schedule_id, wanted, limit=query.limit, cursor=query.cursor)
    )


@router.get("/{schedule_id}/history")
def list_changes(
    agent_id: Handle, schedule_id: Handle, query: Annotated[Page, Query()], use: Use
) -> ChangeList:
    """Who changed it, when, from what to what; also of a schedule that is deleted."""
    page = use.ledger.history(agent_id, schedule_id, limit=query.limit, cursor=query.cursor)
    return ChangeList(
        changes=[ChangeRow.of(change) for change in page.changes], next_cursor=page.next_cursor
    )


@fires.get("")
def list_all_fires(query: Annotated[AllFiresQuery, Query()], use: Use, only: Permitted) -> FireList:
    """The ledger of all schedules, deleted ones too. Pages may be short, as a schedule's."""
    wanted = query.to_filter(query.agent_id, query.schedule_id, only)
    return _list(use.ledger.all_fires(wanted, limit=query.limit, cursor=query.cursor))


@fires.get("/{fire_id}", responses=NOT_FOUND)
def get_fire(fire_id: Handle, use: Use) -> FireShown:
    """One fire, and what became of its task."""
    fire, status = use.ledger.fire(fire_id)
    return FireShown(**FireRow.of(fire).model_dump(), task_status=status)


def _list(page: FirePage) -> FireList:
    return FireList(fires=[FireRow.of(fire) for fire in page.fires], next_cursor=page.next_cursor)
