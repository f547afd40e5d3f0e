"""Every setting, in one frozen class. The only module that reads the environment."""

import os
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from schedules_pipeline.errors import StartupError

SCHEDULES_FLAG = "ENABLE_AGENT_RUN_SCHEDULES"
"""The one variable without our prefix: Agentex has it under this name."""
SECRET = ("_URL", "_KEY")
"""How variables end whose values are not to be repeated."""
SWITCH = {"true": True, "1": True, "false": False, "0": False}


def _strict_switch(value: object) -> object:
    """As Agentex reads it, of the many ways to say yes two: a typo must not open a door."""
    if isinstance(value, bool):
        return value
    read = SWITCH.get(value.lower()) if isinstance(value, str) else None
    if read is None:
        raise ValueError("must be true, false, 1 or 0")
    return read


StrictSwitch = Annotated[bool, BeforeValidator(_strict_switch)]


class Auth(StrEnum):
    """Who says who may do what."""

    NONE = "none"
    API_KEY = "api_key"
    AGENTEX = "agentex"


class Settings(BaseSettings):
    """What can be set from outside, each by the variable `SCHEDULES_<NAME>`, but for one.

    Durations are in seconds. The defaults are the ones that DESIGN's budgets were measured with.
    """

    model_config = SettingsConfigDict(env_prefix="SCHEDULES_", frozen=True, extra="ignore")

    database_url: str | None = Field(
        default=None,
        description="PostgreSQL >= 14. Unset: `schedules dev` runs an embedded one in HOME.",
    )
    dagster_url: str | None = Field(
        default=None,
        description="Where Dagster keeps its own tables; `schedules dev` sets it.",
    )
    home: Path = Field(default=Path(".schedules"), description="State of `schedules dev`.")
    api_host: str = Field(default="127.0.0.1", description="Address the REST API listens on.")
    api_port: int = Field(default=8000, ge=0, le=65535, description="Port of the REST API.")
    ui_port: int = Field(default=3000, ge=0, le=65535, description="Port of the Dagster UI.")
    auth: Auth = Field(
        default=Auth.NONE,
        description="Who may use the API: `none` asks nobody, and only on loopback; `api_key`; "
        "`agentex`, as the provider at AUTH_URL says.",
    )
    auth_url: str | None = Field(default=None, description="The authorization provider's origin.")
    open_registration: bool = Field(
        default=True,
        description="Agents register without saying who they are, as under Agentex. false: only "
        "an admin registers them.",
    )
    demo: bool = Field(default=True, description="Demo agents and schedules in `schedules dev`.")
    warm_runs: bool = Field(
        default=True, description="`schedules dev` forks Dagster runs from a warm process."
    )
    warm_socket: Path | None = Field(
        default=None,
        description="Where that process listens; `schedules dev` sets it. Unset: runs start cold.",
    )
    horizon_seconds: float = Field(
        default=30.0, ge=5, le=900, description="How far ahead of its minute a Dagster run starts."
    )
    grace_seconds: float = Field(
        default=60.0, ge=1, description="How late a fire may be before it counts as missed."
    )
    tick_wait_seconds: float = Field(
        default=15.0,
        ge=0,
        le=20,
        description="How long a tick with nothing to do waits for work; 0: it ends at once.",
    )
    standby: bool = Field(
        default=True,
        description="A Dagster run is always up for what is due at once, such as triggers.",
    )
    connect_timeout_seconds: float = Field(default=5.0, gt=0, description="To reach an agent.")
    request_timeout_seconds: float = Field(
        default=60.0, gt=0, description="For an agent's answer to task/create and event/send."
    )
    turn_timeout_seconds: float = Field(
        default=300.0, gt=0, description="Between two bytes of a synchronous agent's answer."
    )
    enable_agent_run_schedules: StrictSwitch = Field(
        default=True,
        validation_alias=SCHEDULES_FLAG,
        description="Off: no REST routes for schedules. Those that exist keep firing.",
    )
    retry_wait_seconds: float = Field(
        default=2.0, ge=0, description="Before a fire's second attempt; doubles with each."
    )

    asset_per_schedule: bool = Field(
        default=True, description="An asset page per schedule; off: one per agent."
    )

    @field_validator("database_url", "dagster_url")
    @classmethod
    def _is_postgres(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme.split("+")[0] not in ("postgresql", "postgres"):
            raise ValueError("must begin with postgresql://")
        return url

    @field_validator("auth_url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not (
            urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc
        ):
            raise ValueError("must begin with http:// or https://, and name a host")
        return url

    @model_validator(mode="after")
    def _asks_somebody(self) -> Self:
        if self.auth is Auth.AGENTEX and self.auth_url is None:
            raise ValueError(
                "SCHEDULES_AUTH=agentex needs SCHEDULES_AUTH_URL, the provider's origin"
            )
        return self

    def require_guarded(self) -> None:
        """Errors: StartupError when strangers could reach an API that asks nobody who they are."""
        if self.auth is Auth.NONE and not is_loopback(self.api_host):
            raise StartupError(
                f"SCHEDULES_API_HOST={self.api_host} can be reached from outside, and with "
                "SCHEDULES_AUTH=none the API asks nobody who they are. Set SCHEDULES_AUTH=api_key "
                "(keys: `schedules keys create`) or agentex, or let it listen on 127.0.0.1."
            )

    @field_validator("warm_socket", mode="before")
    @classmethod
    def _none_when_empty(cls, path: object) -> object:
        return path or None

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Errors: StartupError that names each variable that cannot be used, and why.
        """
        try:
            return cls()
        except ValidationError as error:
            raise StartupError("\n".join(map(_told, error.errors()))) from None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"SCHEDULES_{name.upper()}"


def _told(problem: ErrorDetails) -> str:
    """One problem in a line; the value too, unless it may hold a password."""
    if not problem["loc"]:
        return problem["msg"].removeprefix("Value error, ")
    place = str(problem["loc"][0])
    name = place if place == SCHEDULES_FLAG else variable(place)
    value = "" if name.endswith(SECRET) else f"={problem['input']!r}"
    return f"{name}{value}: {problem['msg'].removeprefix('Value error, ')}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def with_driver(url: str, driver: str) -> str:
    """The same database, said to SQLAlchemy with its driver.

    Our store speaks psycopg 3; dagster-postgres still needs psycopg 2, and SQLAlchemy 2.1 would
    take psycopg 3 for a bare `postgresql://`. One setting serves both.
    """
    parts = urlsplit(url)
    spelled = urlunsplit(parts._replace(scheme=f"postgresql+{driver}"))
    # urlunsplit drops the empty host of a Unix-socket URL (postgresql:///db?host=/dir).
    return spelled if "://" in spelled else spelled.replace(":", "://", 1)


def child_environment(**overrides: str) -> dict[str, str]:
    """What a process that we start finds in its environment: ours, with these on top."""
    return {**os.environ, **overrides}  # noqa: TID251  # this module is the reader
