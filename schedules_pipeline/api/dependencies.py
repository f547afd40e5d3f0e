"""What routes ask for: the use cases, and who is asking."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.backfilling import Backfills
from schedules_pipeline.services.browsing import Browser
from schedules_pipeline.services.conversing import Conversations
from schedules_pipeline.services.coverage import Audits
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.listing import Ledger
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.places import Places
from schedules_pipeline.services.platform_port import AgentLine
from schedules_pipeline.services.previewing import Previews
from schedules_pipeline.services.registering import Agents
from schedules_pipeline.services.store_port import Store
from schedules_pipeline.services.switching import Switches
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.transcripts import Transcripts
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.wiring import Wiring


@dataclass(frozen=True, slots=True)
class UseCases:
    """Everything that a request can want."""

    wiring: Wiring
    store: Store
    agents: Agents
    schedules: Schedules
    editor: Editor
    triggers: Triggers
    ledger: Ledger
    previews: Previews
    browser: Browser
    tasks: Tasks
    conversations: Conversations
    transcripts: Transcripts
    backfills: Backfills
    switches: Switches
    audits: Audits

    @classmethod
    def of(cls, wiring: Wiring, store: Store | None = None) -> "UseCases":
        """On this process's store, or on another that stands for it."""
        store = store or wiring.store
        editor, tasks = Editor(store, wiring.rules), Tasks(store)
        return cls(
            wiring=wiring,
            store=store,
            agents=Agents(store),
            schedules=Schedules(store, wiring.rules),
            editor=editor,
            triggers=Triggers(store),
            ledger=Ledger(store, tasks.status),
            previews=Previews(store),
            browser=Browser(store, editor),
            tasks=tasks,
            conversations=Conversations(store),
            transcripts=Transcripts(store),
            backfills=Backfills(store),
            switches=Switches(store),
            audits=Audits(store),
        )

    def on(self, store: Store) -> "UseCases":
        """The same on another store; themselves when it is theirs."""
        return self if store is self.store else UseCases.of(self.wiring, store)


# Async, so that FastAPI does not spend a thread on each of them.
async def _use_cases(request: Request) -> UseCases:
    found: UseCases = request.app.state.use_cases
    return found


async def _agent_line(request: Request) -> AgentLine:
    found: AgentLine = request.app.state.agent_line
    return found


async def _principal() -> JsonObject:
    """Who asks. Nobody has to say so far."""
    return {}


async def _places(request: Request) -> Places:
    found: Places = request.app.state.places
    return found


Line = Annotated[AgentLine, Depends(_agent_line)]
Room = Annotated[Places, Depends(_places)]
Use = Annotated[UseCases, Depends(_use_cases)]
Principal = Annotated[JsonObject, Depends(_principal)]
