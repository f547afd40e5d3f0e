"""`clock_switches`: the clock stopped for all or for one agent. The rows are their history."""

import json
from collections.abc import Sequence

from sqlalchemy import Connection, text

from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.services.news_port import EVERYWHERE
from schedules_pipeline.services.stored import Stopped, Switch
from schedules_pipeline.store.news import tell

SWITCH_LOCK = 7_305_003


def switched_on(agent_id: str) -> str:
    """A condition: neither all nor this agent (an SQL expression) is switched off.

    Both questions are asked once per statement, not once per row.
    """
    return f"""not (
        exists (select 1 from clock_switches where on_at is null and scope = 'all')
        or {agent_id} = any(array(
            select w.agent_id from clock_switches w where w.on_at is null and w.scope = 'agent')))
    """  # noqa: S608 - a column's name, of ours


class PostgresSwitches:
    """See `services.store_port.SwitchRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hold(self) -> None:
        """No switch is turned until this transaction ends. Many may hold them."""
        self._connection.execute(
            text("select pg_advisory_xact_lock_shared(:key)"), {"key": SWITCH_LOCK}
        )

    def stopped(self) -> Stopped:
        """What is off now. A statement of its own: after `hold`, it sees every answered PUT."""
        rows = self._connection.execute(
            text("select agent_id, off_since from clock_switches where on_at is null")
        ).all()
        return Stopped(
            all_since=next((row.off_since for row in rows if row.agent_id is None), None),
            agents_since={row.agent_id: row.off_since for row in rows if row.agent_id is not None},
        )

    def turn_off(self, agent_id: str | None, actor: JsonObject, note: str | None) -> None:
        """None: all. Off already: nothing changes. The standby is told: it need not stand by."""
        self._lock()
        self._connection.execute(
            text("""
                insert into clock_switches (scope, agent_id, actor, note)
                values (case when cast(:agent_id as text) is null then 'all' else 'agent' end,
                        :agent_id, cast(:actor as jsonb), :note)
                on conflict (scope, coalesce(agent_id, '')) where on_at is null do nothing
            """),
            {"agent_id": agent_id, "actor": json.dumps(actor), "note": note},
        )
        tell(self._connection, [EVERYWHERE])

    def turn_on(self, agent_id: str | None, actor: JsonObject, note: str | None) -> None:
        """On already: nothing changes. Who waits for work is told: what was left is owed again."""
        self._lock()
        self._connection.execute(
            text("""
                update clock_switches
                set on_at = statement_timestamp(), on_actor = cast(:actor as jsonb), on_note = :note
                where on_at is null and agent_id is not distinct from :agent_id
            """),
            {"agent_id": agent_id, "actor": json.dumps(actor), "note": note},
        )
        tell(self._connection, [EVERYWHERE])

    def history(self, agent_id: str | None, *, limit: int) -> Sequence[Switch]:
        """Newest first."""
        rows = self._connection.execute(
            text("""
                select off_since, on_at, actor, note, on_actor, on_note from clock_switches
                where agent_id is not distinct from :agent_id order by id desc limit :most
            """),
            {"agent_id": agent_id, "most": limit},
        )
        return [Switch(**row._mapping) for row in rows]

    def _lock(self) -> None:
        """Wait for those that plan, emit or claim under the old state: they end before we answer.

        Nobody who holds the switches waits for anything that we hold.
        """
        self._connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": SWITCH_LOCK})
