"""What routes ask for: the use cases, and who is asking."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.listing import Ledger
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.previewing import Previews
from schedules_pipeline.services.registering import Agents
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.wiring import Wiring


@dataclass(frozen=True, slots=True)
class UseCases:
    """Everything that a request can want."""

    wiring: Wiring
    agents: Agents
    schedules: Schedules
    editor: Editor
    triggers: Triggers
    ledger: Ledger
    previews: Previews
    tasks: Tasks

    @classmethod
    def of(cls, wiring: Wiring) -> "UseCases":
        """On this process's store."""
        store = wiring.store
        return cls(
            wiring=wiring,
            agents=Agents(store),
            schedules=Schedules(store, wiring.rules),
            editor=Editor(store, wiring.rules),
            triggers=Triggers(store),
            ledger=Ledger(store),
            previews=Previews(store),
            tasks=wiring.tasks,
        )


# Async, so that FastAPI does not spend a thread on each of them.
async def _use_cases(request: Request) -> UseCases:
    found: UseCases = request.app.state.use_cases
    return found


async def _principal() -> JsonObject:
    """Who asks. Nobody has to say so far."""
    return {}


Use = Annotated[UseCases, Depends(_use_cases)]
Principal = Annotated[JsonObject, Depends(_principal)]
