"""Switches: the clock stopped for all, or for one agent, until somebody turns it on again.

A PUT that has answered holds at once: whoever plans, emits or claims holds the switches (shared)
and then reads them, and who turns one waits for them. What is claimed by then is seen to its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.health import ClockState, clock_state
from schedules_pipeline.services.registering import require_agent
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import Switch

SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchState:
    """One switch, its latest turns (newest first), and what the clock does altogether."""

    off: bool
    history: Sequence[Switch]
    clock: ClockState


class Switches:
    """The clock's switches. `agent_id` None: the one for all."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def see(self, agent_id: str | None) -> SwitchState:
        """Errors: NotFound (agent)."""
        return self._store.run(lambda tx: _see(tx, agent_id))

    def turn(
        self, agent_id: str | None, *, off: bool, actor: JsonObject, note: str | None
    ) -> SwitchState:
        """As it is already: nothing changes. Errors: NotFound (agent), Busy."""

        def turn(tx: Transaction) -> SwitchState:
            if agent_id is not None:
                require_agent(tx, agent_id)
            act = tx.switches.turn_off if off else tx.switches.turn_on
            act(agent_id, actor, note)
            return _see(tx, agent_id)

        return self._store.run(turn)

    def says(self, agent_id: str) -> str:
        """What the clock does for this agent, in words."""
        return self._store.run(lambda tx: clock_state(tx, agent_id)).text


def _see(tx: Transaction, agent_id: str | None) -> SwitchState:
    if agent_id is not None:
        require_agent(tx, agent_id)
    history = tx.switches.history(agent_id, limit=SHOWN)
    return SwitchState(
        off=bool(history) and history[0].on_at is None,
        history=history,
        clock=clock_state(tx, agent_id),
    )
