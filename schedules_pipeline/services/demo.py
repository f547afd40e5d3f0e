"""What `schedules dev` shows on an empty database: two agents with a schedule each."""

from collections.abc import Mapping

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.errors import Rejected
from schedules_pipeline.services.managing import ScheduleDraft, Schedules
from schedules_pipeline.services.registering import AgentDraft, Agents

DEMO_SECONDS = 30


def seed_demo(agents: Agents, schedules: Schedules, urls: Mapping[str, str]) -> None:
    """Register the agent `demo-<acp type>` at each URL, and let it hear something every 30 s.

    Doing it again moves the agents to their new addresses and leaves the schedules alone.
    """
    for name, url in urls.items():
        acp_type = AcpType(name.removeprefix("demo-"))
        draft = AgentDraft(
            name=name,
            description=f"A demo agent that speaks ACP ({acp_type.value})",
            acp_url=url,
            acp_type=acp_type,
        )
        agent = agents.register(draft)
        try:
            schedules.create(agent.id, _schedule(), {})
        except Rejected:
            continue  # It is there from an earlier start.


def _schedule() -> ScheduleDraft:
    return ScheduleDraft(
        name=f"every-{DEMO_SECONDS}-seconds",
        cadence=Cadence(interval_seconds=DEMO_SECONDS),
        description="Seeded by `schedules dev`; delete it as you like.",
        initial_input={"type": "text", "author": "user", "content": "What time is it?"},
    )
