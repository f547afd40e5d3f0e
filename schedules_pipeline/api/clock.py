"""The clock's switches: for all, and for one agent."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from schedules_pipeline.api.dependencies import Principal, Use
from schedules_pipeline.api.errors import NOT_FOUND
from schedules_pipeline.api.fields import Handle
from schedules_pipeline.api.schemas import CreatorPrincipal, Noted
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.stored import Switch
from schedules_pipeline.services.switching import SwitchState

router = APIRouter(tags=["clock"], responses=NOT_FOUND)


class SwitchRequest(Noted):
    """Off or on, and why."""

    off: bool = Field(strict=True)


class SwitchTurn(BaseModel):
    """It was switched off, and perhaps on again."""

    off_since: datetime
    on_at: datetime | None
    actor: CreatorPrincipal
    note: str | None
    on_actor: CreatorPrincipal | None
    on_note: str | None

    @classmethod
    def of(cls, switch: Switch) -> "SwitchTurn":
        """As it is shown: never with credentials."""
        return cls(
            off_since=switch.off_since,
            on_at=switch.on_at,
            actor=_shown(switch.actor),
            note=switch.note,
            on_actor=None if switch.on_actor is None else _shown(switch.on_actor),
            on_note=switch.on_note,
        )


class ClockSwitch(BaseModel):
    """One switch, and what the clock does altogether."""

    off: bool = Field(description="Whether this switch is off.")
    clock: str = Field(
        description="`ticking`, or since when and why not: the other switch counts here too."
    )
    clock_ticked_at: datetime | None
    history: list[SwitchTurn] = Field(description="The latest 100, newest first.")

    @classmethod
    def of(cls, state: SwitchState) -> "ClockSwitch":
        """As it is shown."""
        return cls(
            off=state.off,
            clock=state.clock.text,
            clock_ticked_at=state.clock.ticked_at,
            history=[SwitchTurn.of(each) for each in state.history],
        )


def _shown(actor: JsonObject) -> CreatorPrincipal:
    return CreatorPrincipal(**actor)


@router.get("/clock")
def see(use: Use) -> ClockSwitch:
    """The switch for all."""
    return ClockSwitch.of(use.switches.see(None))


@router.put("/clock")
def turn(body: SwitchRequest, use: Use, principal: Principal) -> ClockSwitch:
    """Off: from this answer on nothing is planned, started or claimed. On: catch-up applies."""
    return ClockSwitch.of(use.switches.turn(None, off=body.off, actor=principal, note=body.note))


@router.get("/agents/{agent_id}/clock")
def see_agents(agent_id: Handle, use: Use) -> ClockSwitch:
    """One agent's switch."""
    return ClockSwitch.of(use.switches.see(agent_id))


@router.put("/agents/{agent_id}/clock")
def turn_agents(
    agent_id: Handle, body: SwitchRequest, use: Use, principal: Principal
) -> ClockSwitch:
    """As for all, for the schedules of one agent."""
    state = use.switches.turn(agent_id, off=body.off, actor=principal, note=body.note)
    return ClockSwitch.of(state)
