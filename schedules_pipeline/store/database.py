"""The connection to PostgreSQL: one engine, short transactions, errors in our own words."""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import psycopg.errors
from psycopg.conninfo import make_conninfo
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from schedules_pipeline.errors import Busy, SchemaMissing, Unavailable
from schedules_pipeline.store.keepalive import KEEPALIVE
from schedules_pipeline.store.news import PostgresEar

T = TypeVar("T")

DEADLOCK_RETRIES = 3
LONGEST_WAIT_SECONDS = 3.0
"""For a connection, for a row, and for both together."""
SHORTEST_WAIT_SECONDS = 0.05
TOO_LONG = "The database took too long over this; ask for less at a time, or try again later."
LOCKED = "Another request is changing the same schedule; try again."

AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # A process that was frozen in the middle of a transaction, and a server that has become a
    # standby: to psycopg these two are internal errors.
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
)

SESSION_SETTINGS = (
    "-c idle_in_transaction_session_timeout=5000 "
    f"-c lock_timeout={LONGEST_WAIT_SECONDS * 1_000:.0f} "
    "-c timezone=UTC "
    "-c default_transaction_isolation=read\\ committed"
)


class Database:
    """PostgreSQL, seen from one process.

    `url` begins with `postgresql+psycopg://`. Never more than `pool_size` connections are open. A
    statement that takes longer than `statement_seconds` is given up; None: none is.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        application: str = "schedules",
        statement_seconds: float | None = None,
    ) -> None:
        limit = f" -c statement_timeout={(statement_seconds or 0) * 1_000:.0f}"
        self._engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=LONGEST_WAIT_SECONDS,
            # The connection that was used last: its plans and caches are warm.
            pool_use_lifo=True,
            # Ten times faster than json.loads; a schedule has four such columns.
            json_deserializer=from_json,
            # What people wrote has no place in a traceback.
            hide_parameters=True,
            connect_args={
                "options": SESSION_SETTINGS + limit,
                "application_name": application,
                **KEEPALIVE,
            },
        )
        event.listen(self._engine, "checkout", _require_silence)

    def ear(self) -> PostgresEar:
        """Another connection, beside the pool, once it is opened."""
        url = self._engine.url.set(drivername="postgresql")
        return PostgresEar(
            make_conninfo(
                url.render_as_string(hide_password=False),
                application_name="schedules, listening",
                **KEEPALIVE,
            )
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction; commits at the end, rolls back on any error.

        Errors: Unavailable (away), SchemaMissing (not migrated), Busy (a lock was not to be had).
        """
        with _in_our_words(), self._engine.begin() as connection:
            yield connection

    def on_connection(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction; again when PostgreSQL chose it as a deadlock's victim."""
        for attempt in range(DEADLOCK_RETRIES):
            try:
                with self.transaction() as connection:
                    return work(connection)
            except _Deadlock:
                if attempt == DEADLOCK_RETRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def now(self) -> datetime:
        """The database's clock: the only one that decides what is due."""
        return self.on_connection(statement_time)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()


def _require_silence(connection: Any, _record: object, _fairy: object) -> None:
    """So a restart of the database is survived without asking before each transaction, which would
    be a fifth of its round trips: a server that ends a connection says so or closes it, and either
    can be read. Between transactions it says nothing else. Errors: all connections are replaced.
    """
    if connection.closed or _can_be_read(connection.fileno()):
        raise InvalidatePoolError


def _can_be_read(descriptor: int) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


class _Deadlock(Busy):
    """PostgreSQL broke a deadlock by giving up on us."""


def statement_time(connection: Connection) -> datetime:
    """The database's clock, inside a transaction (`now()` would stand still there)."""
    found: datetime = connection.execute(text("select statement_timestamp()")).scalar_one()
    return found


@contextmanager
def patient_for(connection: Connection, *, since: float) -> Iterator[None]:
    """The statement inside may wait for locks until 3 s after `since` (monotonic, seconds).

    PostgreSQL's `lock_timeout` counts anew for each lock: of a queue of writers, who is last
    waits for its place in the queue, and then for the row. Errors: Busy.
    """
    left = since + LONGEST_WAIT_SECONDS - time.monotonic()
    limit = f"{max(left, SHORTEST_WAIT_SECONDS) * 1_000:.0f}"
    connection.execute(text("select set_config('statement_timeout', :ms, true)"), {"ms": limit})
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise Busy(LOCKED) from error
        raise
    connection.execute(text("set local statement_timeout to default"))


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except PoolTimeout:
        raise Busy("All database connections of this process are in use; try again.") from None
    except DBAPIError as error:
        raise _translated(error) from error


def _translated(error: DBAPIError) -> Exception:
    cause: Any = error.orig
    if isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return SchemaMissing()
    if isinstance(cause, psycopg.errors.DeadlockDetected):
        return _Deadlock("Two transactions waited for each other; try again.")
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return Busy(LOCKED)
    # Before the next one, of which it is a kind.
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return Unavailable(TOO_LONG)
    if isinstance(cause, AWAY):
        return Unavailable("The database cannot be reached; try again.")
    return error
