"""Schedules that nobody is known to have made: made while `SCHEDULES_AUTH` was `none`.

Once keys are asked for, nobody can be asked about their creator, so their fires are skipped. That
must not come as a surprise, nor cost the schedules: a principal may be made their creator.
"""

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.outcomes import SYSTEM
from schedules_pipeline.services.store_port import Store


class Adoption:
    """What an operator does when switching to `SCHEDULES_AUTH=api_key`."""

    def __init__(self, store: Store, editor: Editor) -> None:
        self._store = store
        self._editor = editor

    def ownerless(self) -> int:
        """How many active schedules have no creator."""
        return len(self._store.run(lambda tx: tx.schedules.without_creator()))

    def adopt(self, principal: str) -> int:
        """Make the principal their creator; returns how many there were. Again: none.

        Each is an edit of its own, in its history. Errors: Rejected when the principal may not
        start tasks itself.
        """
        if not self._store.run(lambda tx: tx.principals.may_fire([principal])):
            raise Rejected(
                f"Principal '{principal}' may not start tasks: it must be an editor or admin with "
                "a valid key (`schedules keys create`)."
            )
        creator = {"principal_type": "api_key", "user_id": principal}
        found = self._store.run(lambda tx: tx.schedules.without_creator())
        return sum(self._adopt(agent_id, each, creator) for agent_id, each in found)

    def _adopt(self, agent_id: str, schedule_id: str, creator: JsonObject) -> bool:
        note = "It had no creator."
        try:
            return self._editor.adopt(agent_id, schedule_id, creator, SYSTEM, note)
        except NotFound:  # deleted meanwhile
            return False
