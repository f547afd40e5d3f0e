"""Dagster's own tables of events and of assets: many asset events in one transaction.

Dagster writes an event in three transactions on two new connections; and its batch writer brings
the table of assets up to date for the last event of a batch alone, which leaves other assets
without a latest materialization (docs/decisions/0008-bulk-audit.md). Its version is pinned, and
tests compare what is written here with what Dagster itself writes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import EventLogEntry
from dagster._core.storage.event_log import AssetKeyTable, SqlEventLogStorageTable
from dagster_postgres.event_log import PostgresEventLogStorage
from sqlalchemy import Connection, func
from sqlalchemy.dialects.postgresql import insert

_OF_AN_ASSET = ("last_materialization", "last_run_id", "last_materialization_timestamp")


def store_asset_events(storage: PostgresEventLogStorage, entries: Sequence[EventLogEntry]) -> None:
    """Store materializations and observations without tags, in their order; all or none.

    The newest event of an asset is its latest, as when each is stored by itself.
    """
    with storage.index_transaction() as connection:
        ids = _insert_events(connection, [storage._event_to_row(entry) for entry in entries])
        assets: dict[str, dict[str, Any]] = {}
        for number, entry in zip(ids, entries, strict=True):
            key = entry.get_dagster_event().asset_key
            assert key is not None
            # An observation leaves the latest materialization as it is and moves the time alone.
            known = assets.setdefault(key.to_string(), dict.fromkeys(_OF_AN_ASSET))
            known |= storage._get_asset_entry_values(entry, number, True)
        _upsert_assets(connection, assets)


def _insert_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Their ids, in the same order."""
    table = SqlEventLogStorageTable
    statement = table.insert().returning(table.c.id, sort_by_parameter_order=True)
    return [int(number) for number in connection.execute(statement, rows).scalars()]


def _upsert_assets(connection: Connection, assets: Mapping[str, Mapping[str, Any]]) -> None:
    """In the order of their keys: two runs that tell of the same assets wait, and do not clash."""
    table = AssetKeyTable
    statement = insert(table)
    new = statement.excluded
    kept = {name: func.coalesce(new[name], table.c[name]) for name in _OF_AN_ASSET}
    connection.execute(
        statement.on_conflict_do_update(index_elements=[table.c.asset_key], set_=kept),
        [{"asset_key": key, **assets[key]} for key in sorted(assets)],
    )
