"""Bodies about agents."""

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field

from schedules_pipeline.api.fields import STORABLE, Json
from schedules_pipeline.domain.schedule import AcpType, Agent, AgentStatus
from schedules_pipeline.services.registering import AgentDraft


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or ord(character) < 33 for character in text):
        raise ValueError("must be an address such as 'http://127.0.0.1:8001'")
    return text


class AgentRegister(BaseModel):
    """An agent, as it presents itself."""

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[a-z0-9-]+$")]
    description: Annotated[str, Field(max_length=10_000), STORABLE] = ""
    acp_url: Annotated[str, Field(max_length=2_000), STORABLE, AfterValidator(_http_url)] = Field(
        json_schema_extra={"format": "uri", "pattern": "^https?://[^/?#]"},
        examples=["http://127.0.0.1:8001"],
    )
    acp_type: AcpType
    agent_id: (
        Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None
    ) = Field(default=None, description="The id that a new agent would like to have.")
    registration_metadata: Json | None = None
    agent_input_type: Literal["text", "json"] | None = None

    def to_draft(self) -> AgentDraft:
        """As the use case wants it."""
        return AgentDraft(
            id=self.agent_id,
            name=self.name,
            description=self.description,
            acp_url=self.acp_url,
            acp_type=self.acp_type,
            registration_metadata=self.registration_metadata,
            agent_input_type=self.agent_input_type,
        )


class AgentRow(BaseModel):
    """An agent, without where it listens."""

    id: str
    name: str
    description: str
    acp_type: AcpType
    status: AgentStatus
    status_reason: str | None
    created_at: datetime
    updated_at: datetime
    registration_metadata: dict[str, Any] | None
    registered_at: datetime
    agent_input_type: str | None
    production_deployment_id: str | None

    @classmethod
    def of(cls, agent: Agent) -> "AgentRow":
        """As it is shown."""
        return cls(**_agent_fields(agent))


class RegisteredAgent(AgentRow):
    """The agent, and the key by which it will know us."""

    agent_api_key: str

    @classmethod
    def of(cls, agent: Agent) -> "RegisteredAgent":
        """As it is shown to itself."""
        return cls(**_agent_fields(agent), agent_api_key=agent.api_key)


def _agent_fields(agent: Agent) -> dict[str, Any]:
    # Two keys of the contract have nothing behind them here.
    return {name: getattr(agent, name, None) for name in AgentRow.model_fields}
