"""Schedules by the thousand, made by one statement instead of as many requests."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.store.unit_of_work import PostgresStore

FILL = """
with numbered as (
    select gen_random_uuid()::text as id, n from generate_series(1, :number) n
), made as (
    insert into agent_run_schedules
        (id, agent_id, name, interval_seconds, interval_phase_seconds, catchup_policy,
         start_at, end_at, initial_input)
    select id, (cast(:agents as text[]))[1 + n % cardinality(cast(:agents as text[]))],
           :prefix || '-' || n, :every, mod(cast(extract(epoch from :first) as bigint), :every),
           :catchup, :start_at, :end_at, cast(:input as jsonb)
    from numbered
)
insert into schedule_clock (schedule_id, next_nominal_at, next_due_at, tzdata_version)
select id, :first, :first, :tzdata from numbered
"""

INPUT = {"type": "text", "author": "user", "content": "hello"}
"""As the API stores it."""


def fill(
    store: PostgresStore,
    agents: list[str],
    number: int,
    *,
    first: datetime,
    every: int,
    prefix: str = "filled",
    catchup: str = "latest",
    start_at: datetime | None = None,
    end_at: datetime | None = None,
) -> None:
    """`number` schedules every so many seconds, whose clocks stand at `first` (whole seconds).

    Spread evenly over `agents`; their ids are random, as the API's are.
    """
    values = {
        "agents": agents,
        "number": number,
        "first": first,
        "every": every,
        "prefix": prefix,
        "catchup": catchup,
        "start_at": start_at,
        "end_at": end_at,
        "tzdata": TZDATA_VERSION,
        "input": json.dumps(INPUT),
    }

    def write(connection: Connection) -> None:
        # A million foreign keys into one agent's row are checked by nobody: they hold by the text.
        connection.execute(text("set local session_replication_role = replica"))
        connection.execute(text(FILL), values)

    store.on_connection(write)


def within_reach(store: PostgresStore) -> datetime:
    """The last second of the present minute: a tick plans it, whenever in the minute it comes."""
    return store.now().replace(second=59, microsecond=0)


def tidy(store: PostgresStore) -> None:
    """What autovacuum does in time."""
    with store._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))


def run_sql(store: PostgresStore, statement: str, **values: Any) -> list[Any]:
    """The rows of a statement, committed."""

    def work(connection: Connection) -> list[Any]:
        result = connection.execute(text(statement), values)
        return list(result.all()) if result.returns_rows else []

    return store.on_connection(work)
