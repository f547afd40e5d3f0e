"""What routes ask for: the use cases, and who is asking."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.access_port import creator_of
from schedules_pipeline.services.backfilling import Backfills
from schedules_pipeline.services.browsing import Browser
from schedules_pipeline.services.conversing import Conversations
from schedules_pipeline.services.coverage import Audits
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.listing import Ledger
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.permitting import Permissions
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

PRINCIPAL = "schedules.principal"
"""Where in a request's scope stands who asks; `api.access` writes it."""


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
    permissions: Permissions

    @property
    def guarded(self) -> bool:
        """Whether anybody is asked who they are, and what they may do."""
        return self.wiring.guarded

    @property
    def registration_is_open(self) -> bool:
        """Whether agents register without saying who they are."""
        return self.wiring.settings.open_registration

    @classmethod
    def of(cls, wiring: Wiring, store: Store | None = None) -> "UseCases":
        """On this process's store, or on another that stands for it."""
        store = store or wiring.store
        editor, tasks = Editor(store, wiring.rules), Tasks(store)
        permissions = Permissions(wiring.authorizer)
        return cls(
            wiring=wiring,
            store=store,
            agents=Agents(store),
            schedules=Schedules(store, wiring.rules, permissions),
            editor=editor,
            triggers=Triggers(store),
            ledger=Ledger(store, tasks.status),
            previews=Previews(store),
            browser=Browser(store, editor),
            tasks=tasks,
            conversations=Conversations(store, permissions if wiring.guarded else None),
            transcripts=Transcripts(store),
            backfills=Backfills(store),
            switches=Switches(store),
            audits=Audits(store),
            permissions=permissions,
        )

    def on(self, store: Store) -> "UseCases":
        """The same on another store; themselves when it is theirs."""
        return self if store is self.store else UseCases.of(self.wiring, store)


# Async, so that FastAPI does not spend a thread on each of them.
async def _use_cases(request: Request) -> UseCases:
    found: UseCases = request.app.state.use_cases
    return found


async def _caller(request: Request) -> JsonObject:
    found: JsonObject = request.scope[PRINCIPAL]
    return found


async def _principal(request: Request) -> JsonObject:
    return creator_of(await _caller(request))


async def _agent_line(request: Request) -> AgentLine:
    # Made for the first who needs it: an API that calls no agent holds 12 MiB less.
    state = request.app.state
    if state.agent_line is None:
        state.agent_line = state.open_agent_line()
    found: AgentLine = state.agent_line
    return found


async def _places(request: Request) -> Places:
    found: Places = request.app.state.places
    return found


Line = Annotated[AgentLine, Depends(_agent_line)]
Room = Annotated[Places, Depends(_places)]
Use = Annotated[UseCases, Depends(_use_cases)]
Caller = Annotated[JsonObject, Depends(_caller)]
"""Who asks, as whoever authenticated them says it: only for whoever authorizes them."""
Principal = Annotated[JsonObject, Depends(_principal)]
"""What may be kept of who asks: the creator of what is made, the actor in the history."""
