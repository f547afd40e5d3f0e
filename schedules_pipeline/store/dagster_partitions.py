"""Dagster's own table of dynamic partition keys: the one table of Dagster's that we write.

Through Dagster's calls a deletion of 10,000 keys takes 74 s, and the clock stands still meanwhile;
one statement takes 0.04 s (docs/operating.md says what is kept). Dagster's version is pinned.
"""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import Connection, text

KEPT_FOR = timedelta(days=14)
KEPT_KEYS = 50_000


def delete_old_keys(connection: Connection, partition_set: str, keep: Collection[str]) -> int:
    """Delete keys older than 14 days, and of the rest all but the newest 50,000; never `keep`.

    Returns how many. A key that is deleted comes back when its slice is emitted again.
    """
    deleted = connection.execute(
        text("""
            delete from dynamic_partitions
            where partitions_def_name = :name
              and not (partition = any(:keep))
              and (create_timestamp < (now() at time zone 'utc') - cast(:kept_for as interval)
                   or id <= (select id from dynamic_partitions where partitions_def_name = :name
                             order by id desc offset :kept_keys limit 1))
        """),
        {
            "name": partition_set,
            "keep": list(keep),
            "kept_for": KEPT_FOR,
            "kept_keys": KEPT_KEYS,
        },
    )
    return int(deleted.rowcount)
