"""Rows of a real database to test with: valid by default, each part can be named.

Time is the database's: a situation is built from instants relative to `database_now(store)`, so
nothing here waits for a minute to pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import Connection, Row, text

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FINAL, FireReason, FireState, scheduled_fire_id
from schedules_pipeline.domain.planning import first_occurrence
from schedules_pipeline.domain.schedule import Agent, JsonObject, Schedule
from schedules_pipeline.domain.slices import Slice, SliceKind, floor_minute
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.services.planning import PlanningRules
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import Heartbeat
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests import factories

GRACE = timedelta(seconds=60)
HORIZON = timedelta(seconds=30)
RULES = PlanningRules(horizon=HORIZON, grace=GRACE)
NOBODY_LISTENS = "http://127.0.0.1:9"
INSTANT = timedelta(microseconds=1)

_numbers = count(1)
_NEEDS_REASON = {
    FireState.WAITING: FireReason.OVERLAP,
    FireState.FAILED: FireReason.UNREACHABLE,
    FireState.SKIPPED: FireReason.PAUSED,
    FireState.MISSED: FireReason.COALESCED,
    FireState.CANCELLED: FireReason.RUN_CANCELLED,
}


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def database_now(store: PostgresStore) -> datetime:
    return store.now()


def query(store: PostgresStore, statement: str, **parameters: Any) -> Sequence[Row[Any]]:
    """The rows of a statement, committed."""

    def work(connection: Connection) -> Sequence[Row[Any]]:
        result = connection.execute(text(statement), parameters)
        return result.all() if result.returns_rows else []

    return store.on_connection(work)


def one(store: PostgresStore, statement: str, **parameters: Any) -> Any:
    """The one value of a statement."""
    ((found,),) = query(store, statement, **parameters)
    return found


def insert_rows(store: PostgresStore, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that name the same columns."""
    columns = list(rows[0])
    statement = text(
        f"insert into {table} ({', '.join(columns)}) "
        f"values ({', '.join(':' + column for column in columns)})"
    )
    store.on_connection(lambda connection: connection.execute(statement, list(rows)))


# --- schedules ------------------------------------------------------------------------------------


def an_agent(store: PostgresStore, acp_url: str = NOBODY_LISTENS, **changes: Any) -> Agent:
    name = f"agent-{next(_numbers):06}"
    values = {"id": name, "name": name, "acp_url": acp_url, **changes}
    agent = store.run(lambda tx: tx.agents.register(factories.an_agent(**values)))
    assert agent is not None
    return agent


def a_schedule(
    store: PostgresStore,
    agent: Agent | None = None,
    *,
    every: int = 5,
    clock_at: datetime | None = None,
    stopped: bool = False,
    **changes: Any,
) -> Schedule:
    """A schedule whose clock stands at its first occurrence from `clock_at` (now) on.

    With `stopped` nothing of it is due: what is to happen is said by rows of the test's own.
    """
    name = f"schedule-{next(_numbers):06}"
    owner = agent or an_agent(store)
    values = {"id": name, "name": name, "agent_id": owner.id, "deleted_at": None}
    cadence = {"cadence": Cadence(interval_seconds=every)}
    schedule = factories.a_schedule(**(values | cadence | changes))
    at = clock_at or database_now(store)
    next_at = None if stopped else first_occurrence(schedule, at - INSTANT)
    insert_schedules(store, [schedule], next_at)
    return schedule


def insert_schedules(
    store: PostgresStore,
    schedules: Sequence[Schedule],
    next_at: tuple[datetime, datetime] | None = None,
) -> None:
    """Schedules, with their clocks at (nominal, due)."""

    def insert(tx: Transaction) -> None:
        for schedule in schedules:
            assert tx.schedules.insert(schedule)
            tx.clocks.insert(schedule.id, next_at, TZDATA_VERSION)

    store.run(insert)


def delete_schedule(store: PostgresStore, schedule: Schedule) -> None:
    """As the API does it: the mutex first."""

    def delete(tx: Transaction) -> None:
        tx.clocks.lock(schedule.id)
        tx.clocks.set_next(schedule.id, None)
        tx.schedules.mark_deleted(schedule.id)

    store.run(delete)


def a_skip(store: PostgresStore, schedule: Schedule, nominal_at: datetime) -> None:
    row = {"schedule_id": schedule.id, "nominal_at": nominal_at}
    insert_rows(store, "schedule_skips", [row])


# --- slices and dispatches ------------------------------------------------------------------------


def a_slice(
    store: PostgresStore, starts_at: datetime, kind: SliceKind = SliceKind.MINUTE, **columns: Any
) -> str:
    """The slice of that minute; returns its key."""
    made = Slice(kind, floor_minute(starts_at))
    store.run(lambda tx: tx.slices.open([made], tx.now()))
    for column, value in columns.items():
        query(
            store,
            f"update slices set {column} = :value where slice_key = :key",
            value=value,
            key=made.key,
        )
    return made.key


def past_slice(store: PostgresStore, minutes_ago: int = 2, **columns: Any) -> str:
    """A slice whose minute is over, so that its run ends as soon as it owes nothing."""
    minute = floor_minute(database_now(store)) - timedelta(minutes=minutes_ago)
    return a_slice(store, minute, **columns)


def a_dispatch(
    store: PostgresStore,
    slice_key: str,
    run: str | None = None,
    *,
    heartbeat_age: float = 0,
    finished: bool = False,
) -> str:
    """A Dagster run at work on a slice; returns its id."""
    now = database_now(store)
    run_id = run or f"run-{next(_numbers):06}"
    row = {
        "dagster_run_id": run_id,
        "slice_key": slice_key,
        "host": "test",
        "pid": 0,
        "started_at": now - seconds(heartbeat_age),
        "heartbeat_at": now - seconds(heartbeat_age),
        "finished_at": now if finished else None,
    }
    insert_rows(store, "dispatches", [row])
    return run_id


def end_dispatch(store: PostgresStore, run: str) -> None:
    """Declare it ended, whatever it thinks."""
    query(
        store,
        "update dispatches set finished_at = statement_timestamp() where dagster_run_id = :run",
        run=run,
    )


def the_clock_ticked(store: PostgresStore, *, ago: float, series: float) -> None:
    """The last tick was `ago` seconds ago, at the end of an unbroken series that long by now."""
    now = database_now(store)
    beat = Heartbeat(
        ticked_at=now - seconds(ago), tick_no=7, series_since=now - seconds(ago + series)
    )
    store.run(lambda tx: tx.heartbeat.write(beat))


# --- fires ----------------------------------------------------------------------------------------


def a_fire(
    store: PostgresStore,
    schedule: Schedule,
    slice_key: str,
    nominal_at: datetime,
    state: FireState = FireState.PLANNED,
    *,
    run: str | None = None,
    reason: FireReason | None = None,
    **columns: Any,
) -> str:
    """A fire in any state, with what that state needs; returns its id."""
    row = fire_row(schedule, slice_key, nominal_at, state, run=run, reason=reason) | columns
    insert_rows(store, "fires", [row])
    return str(row["id"])


def fire_row(
    schedule: Schedule,
    slice_key: str,
    nominal_at: datetime,
    state: FireState = FireState.PLANNED,
    *,
    run: str | None = None,
    reason: FireReason | None = None,
) -> JsonObject:
    """The columns of a fire that has come as far as `state`."""
    fire_id = scheduled_fire_id(schedule.id, nominal_at)
    claimed = state in (FireState.CLAIMED, FireState.TASK_CREATED, FireState.DELIVERED)
    made = state in (FireState.TASK_CREATED, FireState.DELIVERED)
    ended = state in FINAL
    because = reason or _NEEDS_REASON.get(state)
    return {
        "id": fire_id,
        "idempotency_key": fire_id,
        "schedule_id": schedule.id,
        "agent_id": schedule.agent_id,
        "nominal_at": nominal_at,
        "due_at": nominal_at,
        "owed_at": nominal_at,
        "trigger_type": "scheduled",
        "slice_key": slice_key,
        "state": state.value,
        "reason": because and because.value,
        "claimed_by": run,
        "claimed_at": nominal_at if claimed else None,
        "task_id": f"task-{fire_id}" if made else None,
        "task_created_at": nominal_at if made else None,
        "delivered_at": nominal_at if state is FireState.DELIVERED else None,
        "finished_at": nominal_at if ended else None,
    }


def many_fires(
    store: PostgresStore,
    agent: Agent,
    slice_key: str,
    number: int,
    *,
    due_in: float = -1,
    state: FireState = FireState.PLANNED,
    run: str | None = None,
    **changes: Any,
) -> list[str]:
    """`number` schedules of one agent, each with one fire; returns the fires' ids."""
    nominal = database_now(store) + seconds(due_in)
    crowd = next(_numbers)
    values = {"agent_id": agent.id, "cadence": Cadence(interval_seconds=86_400)}
    first = factories.a_schedule(**(values | changes))
    schedules = [
        replace(first, id=f"crowd-{crowd}-{n:05}", name=f"crowd-{crowd}-{n:05}")
        for n in range(number)
    ]
    insert_schedules(store, schedules)
    rows = [fire_row(each, slice_key, nominal, state, run=run) for each in schedules]
    insert_rows(store, "fires", rows)
    return [str(row["id"]) for row in rows]


@dataclass(frozen=True, slots=True)
class FireSeen:
    """What tests look at of a fire's row."""

    state: str
    reason: str | None
    attempts: int
    claimed_by: str | None
    task_id: str | None
    error: str | None
    possible_duplicate: bool
    reply_excerpt: str | None
    recorded: bool


def see_fire(store: PostgresStore, fire_id: str) -> FireSeen:
    (row,) = query(
        store,
        """
        select state, reason, attempts, claimed_by, task_id, error, possible_duplicate,
               reply_excerpt, recorded_at is not null as recorded
        from fires where id = :id
        """,
        id=fire_id,
    )
    return FireSeen(**row._mapping)


def schedule_of(store: PostgresStore, fire_id: str) -> str:
    """The id of the schedule that a fire belongs to."""
    return str(one(store, "select schedule_id from fires where id = :id", id=fire_id))


def states(store: PostgresStore) -> dict[str, int]:
    """How many fires are in each state."""
    rows = query(store, "select state, count(*) as number from fires group by state")
    return {row.state: row.number for row in rows}
