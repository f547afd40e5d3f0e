"""One transaction, with every repository in it."""

import time
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from sqlalchemy import Connection, text

from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.store.agents import PostgresAgents
from schedules_pipeline.store.audit import PostgresAudit
from schedules_pipeline.store.backfills import PostgresBackfills
from schedules_pipeline.store.claims import PostgresClaims
from schedules_pipeline.store.clocks import PostgresClocks
from schedules_pipeline.store.database import Database, statement_time
from schedules_pipeline.store.dispatches import PostgresDispatches
from schedules_pipeline.store.events import PostgresEvents
from schedules_pipeline.store.fires import PostgresFires
from schedules_pipeline.store.heartbeat import PostgresHeartbeat
from schedules_pipeline.store.keys import PostgresKeys
from schedules_pipeline.store.ledger import PostgresLedger
from schedules_pipeline.store.messages import PostgresMessages
from schedules_pipeline.store.overlaps import PostgresOverlaps
from schedules_pipeline.store.principals import PostgresPrincipals
from schedules_pipeline.store.schedules import PostgresSchedules
from schedules_pipeline.store.slices import PostgresSlices
from schedules_pipeline.store.switches import PostgresSwitches
from schedules_pipeline.store.tasks import PostgresTasks

T = TypeVar("T")

TICK_LOCK = 7_305_002


class PostgresTransaction:
    """See `services.store_port.Transaction`."""

    def __init__(self, connection: Connection, asked_at: float | None = None) -> None:
        """`asked_at`: when it was asked for (monotonic, seconds), if that was before now."""
        self._connection = connection
        self._asked_at = time.monotonic() if asked_at is None else asked_at

    @cached_property
    def agents(self) -> PostgresAgents:
        """Agents of the local platform."""
        return PostgresAgents(self._connection)

    @cached_property
    def schedules(self) -> PostgresSchedules:
        """Definitions."""
        return PostgresSchedules(self._connection)

    @cached_property
    def clocks(self) -> PostgresClocks:
        """When each schedule is due next."""
        return PostgresClocks(self._connection, self._asked_at)

    @cached_property
    def slices(self) -> PostgresSlices:
        """Units of work."""
        return PostgresSlices(self._connection)

    @cached_property
    def dispatches(self) -> PostgresDispatches:
        """Dagster runs at work."""
        return PostgresDispatches(self._connection)

    @cached_property
    def fires(self) -> PostgresFires:
        """The ledger, as the clock and people see it."""
        return PostgresFires(self._connection)

    @cached_property
    def claims(self) -> PostgresClaims:
        """The ledger, as runs see it."""
        return PostgresClaims(self._connection)

    @cached_property
    def backfills(self) -> PostgresBackfills:
        """What persons want delivered of the past."""
        return PostgresBackfills(self._connection)

    @cached_property
    def overlaps(self) -> PostgresOverlaps:
        """Who is ahead, who waits."""
        return PostgresOverlaps(self._connection)

    @cached_property
    def tasks(self) -> PostgresTasks:
        """Tasks of the local platform."""
        return PostgresTasks(self._connection)

    @cached_property
    def events(self) -> PostgresEvents:
        """Inputs that were sent as events."""
        return PostgresEvents(self._connection)

    @cached_property
    def messages(self) -> PostgresMessages:
        """What was said in tasks."""
        return PostgresMessages(self._connection)

    @cached_property
    def heartbeat(self) -> PostgresHeartbeat:
        """Is the clock running?"""
        return PostgresHeartbeat(self._connection)

    @cached_property
    def switches(self) -> PostgresSwitches:
        """Is the clock switched off?"""
        return PostgresSwitches(self._connection)

    @cached_property
    def audit(self) -> PostgresAudit:
        """What the audit reads."""
        return PostgresAudit(self._connection)

    @cached_property
    def ledger(self) -> PostgresLedger:
        """What is read across schedules."""
        return PostgresLedger(self._connection)

    @cached_property
    def keys(self) -> PostgresKeys:
        """Answers by Idempotency-Key."""
        return PostgresKeys(self._connection)

    @cached_property
    def principals(self) -> PostgresPrincipals:
        """Who may use the API, and the hashes of their keys."""
        return PostgresPrincipals(self._connection)

    def now(self) -> datetime:
        """The database's clock, at this statement."""
        return statement_time(self._connection)

    def try_to_be_the_only_tick(self) -> bool:
        """Until the transaction ends; False when another tick emits right now."""
        statement = text("select pg_try_advisory_xact_lock(:key)")
        return bool(self._connection.execute(statement, {"key": TICK_LOCK}).scalar_one())


class PostgresStore(Database):
    """The database, as the use cases see it."""

    def run(self, work: Callable[[Transaction], T]) -> T:
        """`work` in one transaction; again after a deadlock."""
        asked_at = time.monotonic()
        return self.on_connection(
            lambda connection: work(PostgresTransaction(connection, asked_at))
        )
