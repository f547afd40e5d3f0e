"""News by NOTIFY: told within the writer's transaction, heard when it is committed.

All who tell take turns: PostgreSQL holds one lock of the whole server from the moment before such a
commit until it is durable. So persons' writes tell; ticks' own planning and fires' ends do not.
"""

import select
import time
from collections.abc import Collection

import psycopg
from sqlalchemy import Connection, text

from schedules_pipeline.services.news_port import EVERYWHERE

CHANNEL = "schedules_news"
TOLD_BY_NAME = 20


def tell(connection: Connection, slice_keys: Collection[str]) -> None:
    """Say, once this transaction is committed, that these slices have something new."""
    named = sorted(slice_keys) if len(slice_keys) <= TOLD_BY_NAME else [EVERYWHERE]
    connection.execute(
        text("select pg_notify(:channel, k.key) from unnest(cast(:keys as text[])) as k (key)"),
        {"channel": CHANNEL, "keys": named},
    )


class PostgresEar:
    """See `services.news_port.Ear`."""

    def __init__(self, conninfo: str) -> None:
        """`conninfo`: as libpq reads it."""
        self._conninfo = conninfo
        self._connection: psycopg.Connection | None = None

    def open(self) -> bool:
        """Listen, if it does not yet. False: it cannot now."""
        if self._connection is None:
            try:
                opened = psycopg.connect(self._conninfo, autocommit=True)
                opened.execute(f"listen {CHANNEL}".encode())
            except psycopg.Error:
                return False
            self._connection = opened
        return True

    def fileno(self) -> int:
        """Of the connection."""
        assert self._connection is not None, "only of an ear that is open"
        return self._connection.fileno()

    def read(self) -> Collection[str]:
        """The keys told since the last time."""
        if self._connection is None:
            return set()
        found = set()
        try:
            self._connection.pgconn.consume_input()
            while news := self._connection.pgconn.notifies():
                found.add(news.extra.decode())
        except psycopg.Error:
            self.close()
            return {EVERYWHERE}
        return found

    def wait(self, seconds: float) -> Collection[str]:
        """The same, waiting for the first of them for so long at most."""
        if self._connection is None:
            time.sleep(max(seconds, 0))
            return set()
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        poll.poll(max(seconds, 0) * 1_000)
        return self.read()

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
