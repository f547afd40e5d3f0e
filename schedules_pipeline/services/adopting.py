"""Schedules whose creator cannot be asked about any more, and who takes them over.

A schedule that was made while `SCHEDULES_AUTH` was `none` has no creator; a principal may be
revoked for good. Once keys are asked for, the fires of both are skipped: that must not cost the
schedules.
"""

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.outcomes import SYSTEM
from schedules_pipeline.services.store_port import Store

NOBODY: JsonObject = {}


class Adoption:
    """What an operator does under `SCHEDULES_AUTH=api_key`."""

    def __init__(self, store: Store, editor: Editor) -> None:
        self._store = store
        self._editor = editor

    def warning(self) -> str | None:
        """What an operator should know who has just switched keys on; None: all is well."""
        ownerless = len(self._store.run(lambda tx: tx.schedules.made_by(NOBODY)))
        if not ownerless:
            return None
        return (
            f"Schedules without a creator, which do not fire: {ownerless}. They were made while "
            "SCHEDULES_AUTH was none. `schedules keys adopt --principal NAME` gives them one."
        )

    def adopt(self, principal: str, giver: str | None = None) -> int:
        """Make the principal the creator of all active schedules that have none, or of those that
        another principal made; returns how many there were. Again: none.

        Each is an edit of its own, in its history. Errors: Rejected when the principal may not
        start tasks itself.
        """
        if not self._store.run(lambda tx: tx.principals.may_fire([principal])):
            raise Rejected(
                f"Principal '{principal}' may not start tasks: it must be an editor or admin with "
                "a valid key (`schedules keys create`)."
            )
        before = NOBODY if giver is None else _principal(giver)
        found = self._store.run(lambda tx: tx.schedules.made_by(before))
        creators = before, _principal(principal)
        return sum(self._hand_over(agent_id, each, creators) for agent_id, each in found)

    def _hand_over(
        self, agent_id: str, schedule_id: str, creators: tuple[JsonObject, JsonObject]
    ) -> bool:
        note = "Its creator was changed by an operator."
        try:
            return self._editor.hand_over(agent_id, schedule_id, creators, SYSTEM, note)
        except NotFound:  # deleted meanwhile
            return False


def _principal(name: str) -> JsonObject:
    """As `access.keys` makes it of a key, and a schedule keeps it."""
    return {"principal_type": "api_key", "user_id": name}
