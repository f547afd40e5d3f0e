"""Routes about schedules across agents: list, pause, resume."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from schedules_pipeline.api.access import Permitted
from schedules_pipeline.api.dependencies import Principal, Use
from schedules_pipeline.api.fields import STORABLE, Handle, Instant
from schedules_pipeline.api.ledger import Page
from schedules_pipeline.api.routing import RepeatableRoute
from schedules_pipeline.api.schemas import Schedule
from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services.browsing import BulkResult
from schedules_pipeline.services.stored import ScheduleFilter, ScheduleOrder

router = APIRouter(prefix="/schedules", tags=["schedules"], route_class=RepeatableRoute)

Sought = Annotated[str, Field(min_length=1, max_length=200), STORABLE]


class Wanted(BaseModel):
    """Which schedules: those that fit everything that is said."""

    agent_id: Handle | None = None
    name: Handle | None = Field(default=None, description="The whole name.")
    text: Sought | None = Field(
        default=None, description="Part of the name or the description, in any case."
    )
    next_fire_before: Instant | None = Field(
        default=None, description="Active, and due next before this instant."
    )

    def to_filter(
        self, only: frozenset[str] | None, *, paused: bool | None = None
    ) -> ScheduleFilter:
        """As the use case wants it: none but those that the caller may use."""
        return ScheduleFilter(
            agent_id=self.agent_id,
            name=self.name,
            paused=paused,
            next_fire_before=self.next_fire_before,
            text=self.text,
            only=only,
        )

    def says_nothing(self) -> bool:
        """Whether it fits every schedule there is."""
        return all(getattr(self, name) is None for name in Wanted.model_fields)


class ScheduleQuery(Page, Wanted):
    """Which schedules, and in which order."""

    paused: bool | None = None
    state: Literal["ACTIVE", "PAUSED"] | None = Field(
        default=None, description="The same as `paused`, as the answers say it."
    )
    sort: ScheduleOrder = Field(
        default=ScheduleOrder.CREATED_DOWN, description="`-`: the largest first."
    )
    include_live: bool = Field(
        default=False, description="With live data; the first 200 of the page carry it."
    )

    def wants_paused(self) -> bool | None:
        """What `paused` and `state` say together. Errors: InvalidInput."""
        said = {None: None, "ACTIVE": False, "PAUSED": True}[self.state]
        if self.paused is not None and said is not None and self.paused != said:
            raise InvalidInput("state", "contradicts `paused`; give one of them")
        return said if self.paused is None else self.paused


class ScheduleMatches(BaseModel):
    """A page of schedules; `next_cursor` is null on the last one."""

    schedules: list[Schedule]
    next_cursor: str | None


class BulkEdit(BaseModel):
    """What is to be done to all schedules that fit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"filter": {"text": "report"}, "note": "Holidays", "dry_run": True}]
        }
    )

    filter: Wanted = Field(default_factory=Wanted)
    all: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Needed when the filter says nothing."
    )
    note: Annotated[str, Field(max_length=10_000), STORABLE] | None = Field(
        default=None, description="Why; kept in the history of each."
    )
    dry_run: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Only say which would be changed."
    )

    def to_filter(self, only: frozenset[str] | None) -> ScheduleFilter:
        """As the use case wants it. Errors: InvalidInput when it would fit all by mistake."""
        if self.filter.says_nothing() and not self.all:
            raise InvalidInput("filter", "says nothing; name what is wanted, or say `all: true`")
        return self.filter.to_filter(only)


class BulkDone(BaseModel):
    """What was changed; in a dry run, what would be."""

    dry_run: bool
    changed: list[str] = Field(description="Ids, the oldest schedule first; at most 1,000.")
    busy: list[str] = Field(description="Ids of those that others held; ask again.")
    more: bool = Field(description="Whether others fit still; ask again.")

    @classmethod
    def of(cls, result: BulkResult, *, dry_run: bool) -> "BulkDone":
        """As it is shown."""
        return cls(
            dry_run=dry_run,
            changed=list(result.changed),
            busy=list(result.busy),
            more=result.more,
        )


@router.get("")
def list_across_agents(
    query: Annotated[ScheduleQuery, Query()], use: Use, only: Permitted
) -> ScheduleMatches:
    """Schedules of all agents. What is edited meanwhile may move when sorted by `updated_at`."""
    page = use.browser.list(
        query.to_filter(only, paused=query.wants_paused()),
        query.sort,
        limit=query.limit,
        cursor=query.cursor,
        live=query.include_live,
    )
    return ScheduleMatches(
        schedules=[Schedule.of(view) for view in page.schedules], next_cursor=page.next_cursor
    )


@router.post("/pause")
def pause_all(body: BulkEdit, use: Use, principal: Principal, only: Permitted) -> BulkDone:
    """Pause those that fit and are active: 1,000 at most, each in a transaction of its own."""
    done = use.browser.pause(body.to_filter(only), principal, body.note, dry_run=body.dry_run)
    return BulkDone.of(done, dry_run=body.dry_run)


@router.post("/resume")
def resume_all(body: BulkEdit, use: Use, principal: Principal, only: Permitted) -> BulkDone:
    """Resume those that fit and are paused: 1,000 at most, each in a transaction of its own."""
    done = use.browser.resume(body.to_filter(only), principal, body.note, dry_run=body.dry_run)
    return BulkDone.of(done, dry_run=body.dry_run)
