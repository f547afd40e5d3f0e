"""Old partition keys go: the Partitions page slows down with their number (1.6 s at 50,000)."""

import time
from collections.abc import Callable, Collection

import dagster as dg
from dagster_postgres.event_log import PostgresEventLogStorage

from schedules_pipeline.defs.partitions import PARTITION_SET
from schedules_pipeline.store.dagster_partitions import delete_old_keys

PRUNE_EVERY_SECONDS = 3_600.0


class Pruner:
    """Deletes what is too old, once an hour and when the clock starts."""

    def __init__(self, unsettled_keys: Callable[[], Collection[str]]) -> None:
        """`unsettled_keys`: the slices that are not over; their keys stay."""
        self._unsettled_keys = unsettled_keys
        self._next_at = float("-inf")

    def prune(self, instance: dg.DagsterInstance) -> int:
        """Returns how many keys it deleted; mostly it has nothing to do."""
        if time.monotonic() < self._next_at:
            return 0
        self._next_at = time.monotonic() + PRUNE_EVERY_SECONDS
        storage = instance.event_log_storage
        if not isinstance(storage, PostgresEventLogStorage):
            return 0
        with storage.index_connection() as connection:
            return delete_old_keys(connection, PARTITION_SET, self._unsettled_keys())
