"""Bodies about schedules, their fires and previews.

Unknown fields are ignored; in answers every key is present.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schedules_pipeline.api.fields import (
    STORABLE,
    WHOLE,
    AwareInstant,
    Instant,
    Json,
    Natural,
    Positive,
)
from schedules_pipeline.domain.cadence import (
    MAX_EXCLUSIONS,
    MAX_JITTER_SECONDS,
    Cadence,
    CronDayMatch,
    DstFold,
    DstGap,
)
from schedules_pipeline.domain.policies import (
    CatchupPolicy,
    DeliveryGuarantee,
    OverlapPolicy,
    OverlapScope,
    Policies,
)
from schedules_pipeline.services.live import ScheduleView
from schedules_pipeline.services.managing import ScheduleDraft
from schedules_pipeline.services.previewing import Explained
from schedules_pipeline.services.stored import Fire, RecentFire

NAME = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$|^[a-z0-9]$"
MAX_CONTENT = 262_144

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=NAME)]
Description = Annotated[str, Field(max_length=10_000), STORABLE]
CronText = Annotated[str, Field(max_length=1_000), STORABLE]
ZoneName = Annotated[str, Field(max_length=255), STORABLE]
Jitter = Annotated[int, Field(ge=0, le=MAX_JITTER_SECONDS), WHOLE]
Exclusions = Annotated[list[CronText], Field(max_length=MAX_EXCLUSIONS)]


class CadenceFields(BaseModel):
    """When it happens: exactly one of `cron_expression`, `interval_seconds` and `fire_at`."""

    cron_expression: CronText | None = Field(
        default=None,
        description="5 fields, 6 with a year, 7 with seconds first; `@daily`, `@every 90m`; "
        "a prefix `CRON_TZ=<zone>` is understood.",
        examples=["0 9 * * mon-fri"],
    )
    interval_seconds: Positive | None = Field(
        default=None, description="Aligned to the Unix epoch; knows no zone."
    )
    interval_phase_seconds: Natural = Field(
        default=0, description="Moves the interval's grid; less than `interval_seconds`."
    )
    fire_at: Instant | None = Field(default=None, description="Once, at this instant.")
    timezone: ZoneName = Field(
        default="UTC", description="IANA name; cron expressions and exclusions are read in it."
    )
    cron_day_match: CronDayMatch = Field(
        default=CronDayMatch.EITHER,
        description="With both day fields restricted: a day matches either of them, or all.",
    )
    exclude_cron: Exclusions = Field(
        default=[], description="Nothing happens at times that match one of these."
    )
    dst_gap: DstGap = Field(
        default=DstGap.RUN_AFTER,
        description="A wall-clock time that does not exist: run at the first one that does, or "
        "skip it.",
    )
    dst_fold: DstFold = Field(
        default=DstFold.FIRST, description="A wall-clock time that comes twice: which one counts."
    )
    start_at: Instant | None = Field(default=None, description="Inclusive; naive means UTC.")
    end_at: Instant | None = Field(default=None, description="Inclusive; naive means UTC.")
    jitter_seconds: Jitter = Field(
        default=0, description="Each fire is due up to this much later, always the same amount."
    )

    def to_cadence(self) -> Cadence:
        """As the domain knows it; whether it makes sense is decided there."""
        fields = {name: getattr(self, name) for name in CadenceFields.model_fields}
        return Cadence(**{**fields, "exclude_cron": tuple(self.exclude_cron)})


class PolicyFields(BaseModel):
    """What is done when things do not go as planned. The defaults suit most."""

    catchup_policy: CatchupPolicy = Field(
        default=CatchupPolicy.LATEST,
        description="Occurrences missed by more than the grace: the latest one is made up, all of "
        "them, or none.",
    )
    catchup_window_seconds: Natural = Field(
        default=3_600, description="Nothing older than this is made up."
    )
    max_fires: Positive | None = Field(
        default=None, description="The schedule is exhausted after so many fires; null: never."
    )
    pause_after_failures: Positive | None = Field(
        default=None, description="So many failed fires in a row pause the schedule; null: never."
    )
    overlap_policy: OverlapPolicy = Field(
        default=OverlapPolicy.SKIP,
        description="What becomes of a fire while the agent is busy with the one before it.",
    )
    overlap_scope: OverlapScope = Field(
        default=OverlapScope.DELIVERY,
        description="The agent is busy until it has taken the input, or until its task is final.",
    )
    overlap_task_timeout_seconds: Positive = Field(
        default=86_400, description="A task older than this no longer makes its agent busy."
    )
    delivery_guarantee: DeliveryGuarantee = Field(
        default=DeliveryGuarantee.AT_LEAST_ONCE,
        description="When nobody can know whether an input arrived: send it again under the same "
        "key, or let the fire end as failed.",
    )

    def to_policies(self) -> Policies:
        """As the domain knows them."""
        return Policies(**{name: getattr(self, name) for name in PolicyFields.model_fields})


class InitialInput(BaseModel):
    """What the agent is told when its task begins."""

    type: Literal["text"] = "text"
    author: Literal["user", "agent"] = "user"
    content: Annotated[str, Field(max_length=MAX_CONTENT), STORABLE]


class ScheduleCreate(CadenceFields, PolicyFields):
    """A new schedule."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "daily-report",
                    "cron_expression": "0 9 * * mon-fri",
                    "timezone": "Europe/Berlin",
                    "initial_input": {"content": "Write the daily report."},
                    "task_metadata": {"team": "x"},
                }
            ]
        }
    )

    name: Name = Field(
        description="Unique among the agent's schedules: lower-case letters, digits, hyphens.",
        examples=["daily-report"],
    )
    description: Description | None = None
    paused: Annotated[bool, Field(strict=True)] = False
    task_params: Json | None = Field(
        default=None, description="Given to each task. At most 65,536 bytes of JSON, 32 deep."
    )
    task_metadata: Json | None = Field(
        default=None, description="Kept with each task. At most 65,536 bytes of JSON, 32 deep."
    )
    initial_input: InitialInput
    trigger_immediately: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="One fire at once, besides the cadence's."
    )

    def to_draft(self) -> ScheduleDraft:
        """As the use case wants it."""
        return ScheduleDraft(
            name=self.name,
            cadence=self.to_cadence(),
            policies=self.to_policies(),
            trigger_immediately=self.trigger_immediately,
            initial_input=self.initial_input.model_dump(),
            description=self.description,
            paused=self.paused,
            task_params=self.task_params,
            task_metadata=self.task_metadata,
        )


class ScheduleUpdate(BaseModel):
    """Only the keys that are present are considered.

    An explicit null changes nothing for `name`, `timezone`, `paused` and `initial_input`, and
    resets every other field. Setting one kind of cadence clears the others.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"cron_expression": "30 8 * * mon-fri", "max_fires": 250}]}
    )

    name: Name | None = None
    description: Description | None = None
    cron_expression: CronText | None = None
    interval_seconds: Positive | None = None
    interval_phase_seconds: Natural | None = None
    fire_at: Instant | None = None
    timezone: ZoneName | None = None
    cron_day_match: CronDayMatch | None = None
    exclude_cron: Exclusions | None = None
    dst_gap: DstGap | None = None
    dst_fold: DstFold | None = None
    start_at: Instant | None = None
    end_at: Instant | None = None
    jitter_seconds: Jitter | None = None
    catchup_policy: CatchupPolicy | None = None
    catchup_window_seconds: Natural | None = None
    max_fires: Positive | None = None
    pause_after_failures: Positive | None = None
    overlap_policy: OverlapPolicy | None = None
    overlap_scope: OverlapScope | None = None
    overlap_task_timeout_seconds: Positive | None = None
    delivery_guarantee: DeliveryGuarantee | None = None
    paused: Annotated[bool, Field(strict=True)] | None = None
    task_params: Json | None = None
    task_metadata: Json | None = None
    initial_input: InitialInput | None = None

    def given(self) -> dict[str, Any]:
        """The keys that are present, as the domain knows their values."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        if isinstance(values.get("exclude_cron"), list):
            values["exclude_cron"] = tuple(values["exclude_cron"])
        if isinstance(values.get("initial_input"), InitialInput):
            values["initial_input"] = values["initial_input"].model_dump()
        return values


class Noted(BaseModel):
    """Why, for whoever reads the change history."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "The office is closed"}]})

    note: Annotated[str, Field(max_length=10_000), STORABLE] | None = None


class OneOccurrence(BaseModel):
    """An occurrence, by its nominal time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scheduled_time": "2027-06-23T08:30:00+02:00"}]}
    )

    scheduled_time: AwareInstant


class CreatorPrincipal(BaseModel):
    """Who created it, without credentials; nulls where nobody had to say."""

    principal_type: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    account_id: str | None = None


class RecentFireRow(BaseModel):
    """One of the last fires, in short."""

    id: str
    nominal_at: datetime
    trigger_type: str
    state: str
    reason: str | None
    task_id: str | None

    @classmethod
    def of(cls, fire: RecentFire) -> "RecentFireRow":
        """As it is shown."""
        return cls(**{name: getattr(fire, name) for name in cls.model_fields})


class Schedule(BaseModel):
    """A schedule, with what the clock makes of it at this moment."""

    id: str
    agent_id: str
    name: str
    description: str | None
    cron_expression: str | None
    interval_seconds: int | None
    interval_phase_seconds: int
    fire_at: datetime | None
    timezone: str
    cron_day_match: CronDayMatch
    exclude_cron: list[str]
    dst_gap: DstGap
    dst_fold: DstFold
    start_at: datetime | None
    end_at: datetime | None
    jitter_seconds: int
    paused: bool
    task_params: dict[str, Any] | None
    task_metadata: dict[str, Any] | None
    initial_input: dict[str, Any]
    initial_input_method: str = Field(description="How the agent takes its input.")
    creator_principal: CreatorPrincipal
    created_at: datetime
    updated_at: datetime
    state: Literal["ACTIVE", "PAUSED"]
    next_action_times: list[datetime] = Field(description="Up to 10, without skipped ones.")
    live_data_available: bool | None = Field(
        description="Whether the live fields are filled; null: not asked for."
    )
    skipped_action_times: list[datetime]
    last_action_time: datetime | None
    num_actions_taken: int
    recent_fires: list[RecentFireRow] = Field(
        description="The last 10 whose time has come, newest first; live."
    )
    running_count: int = Field(description="How many fires are being delivered; live.")
    version: int = Field(description="Counts the edits.")
    catchup_policy: CatchupPolicy
    catchup_window_seconds: int
    max_fires: int | None
    pause_after_failures: int | None
    overlap_policy: OverlapPolicy
    overlap_scope: OverlapScope
    overlap_task_timeout_seconds: int
    delivery_guarantee: DeliveryGuarantee

    @classmethod
    def of(cls, view: ScheduleView) -> "Schedule":
        """As it is shown."""
        schedule, live = view.schedule, view.live
        cadence = {name: getattr(schedule.cadence, name) for name in CadenceFields.model_fields}
        return cls(
            **{**cadence, "exclude_cron": list(schedule.cadence.exclude_cron)},
            **{name: getattr(schedule.policies, name) for name in PolicyFields.model_fields},
            id=schedule.id,
            version=schedule.version,
            agent_id=schedule.agent_id,
            name=schedule.name,
            description=schedule.description,
            paused=schedule.paused,
            task_params=schedule.task_params,
            task_metadata=schedule.task_metadata,
            initial_input=schedule.initial_input,
            initial_input_method=view.input_method,
            creator_principal=CreatorPrincipal(**schedule.creator_principal),
            created_at=schedule.created_at,
            updated_at=schedule.updated_at,
            state="PAUSED" if schedule.paused else "ACTIVE",
            next_action_times=list(live.next_times) if live else [],
            live_data_available=True if live else (False if view.live_failed else None),
            skipped_action_times=list(live.skipped_times) if live else [],
            last_action_time=live.last_fire_at if live else None,
            num_actions_taken=live.fire_count if live else 0,
            recent_fires=[RecentFireRow.of(fire) for fire in live.recent] if live else [],
            running_count=live.running_count if live else 0,
        )


class ScheduleList(BaseModel):
    """Newest first; `total` is how many are in this answer."""

    run_schedules: list[Schedule]
    total: int


class Deleted(BaseModel):
    """What is gone."""

    id: str
    message: str


CLOCK_WORDS = "`ticking`, or `stopped since …`: then the fire waits until it goes on."


class Triggered(Schedule):
    """The schedule, and the fire that was just asked for."""

    triggered_fire_id: str
    clock: str = Field(description=CLOCK_WORDS)


class FireRow(BaseModel):
    """One occurrence and what became of it."""

    id: str
    schedule_id: str
    agent_id: str
    nominal_at: datetime
    due_at: datetime
    trigger_type: str
    state: str
    reason: str | None
    task_id: str | None
    idempotency_key: str
    attempts: int
    dagster_run_id: str | None
    delivered_at: datetime | None
    lateness_seconds: float | None = Field(description="From due until the input was written.")
    possible_duplicate: bool
    error: str | None
    reply_excerpt: str | None

    @classmethod
    def of(cls, fire: Fire) -> "FireRow":
        """As it is shown."""
        fields: dict[str, Any] = {name: getattr(fire, name, None) for name in cls.model_fields}
        if fire.lateness is not None:
            fields["lateness_seconds"] = fire.lateness.total_seconds()
        return cls(**fields)


class Redriven(FireRow):
    """The fire that is to be delivered after all."""

    clock: str = Field(description=CLOCK_WORDS)


class FireList(BaseModel):
    """Newest nominal time first; `next_cursor` is null on the last page."""

    fires: list[FireRow]
    next_cursor: str | None


class PreviewRequest(CadenceFields):
    """A cadence that need not be saved, and from when on it is to be looked at."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cron_expression": "30 2 * * *",
                    "timezone": "Europe/Berlin",
                    "from": "2027-03-27T12:00:00Z",
                    "count": 2,
                }
            ]
        }
    )

    from_: Instant | None = Field(default=None, alias="from", description="Exclusive; now if null.")
    count: Annotated[int, Field(ge=1, le=1_000), WHOLE] = 10


class PreviewedOccurrence(BaseModel):
    """One occurrence; an excluded or skipped one is marked and does not count."""

    nominal_at: datetime
    local: datetime
    due_at: datetime
    marks: list[str]


class Preview(BaseModel):
    """What the cadence will do."""

    occurrences: list[PreviewedOccurrence]
    sentence: str
    warnings: list[str]
    exhausted: bool = Field(description="Whether no occurrence comes after these.")

    @classmethod
    def of(cls, explained: Explained) -> "Preview":
        """As it is shown."""
        rows = [
            PreviewedOccurrence(
                nominal_at=each.nominal_at,
                local=each.local,
                due_at=each.due_at,
                marks=[mark.value for mark in each.marks],
            )
            for each in explained.preview.occurrences
        ]
        return cls(
            occurrences=rows,
            sentence=explained.sentence,
            warnings=explained.warnings,
            exhausted=explained.preview.exhausted,
        )
