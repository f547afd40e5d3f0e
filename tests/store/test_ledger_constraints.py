"""What PostgreSQL itself refuses: moves, ends without reasons, second rows, rewritten history."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import permutations
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from schedules_pipeline.domain.fire import (
    LEGAL_MOVES,
    REASONS,
    REOPENINGS,
    STILL_SKIPPED,
    FireReason,
    FireState,
)
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.conftest import _database as temporary_database
from tests.ledger import (
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    fire_row,
    insert_rows,
    query,
)

REASONED = [(state, reason) for state, reasons in REASONS.items() for reason in reasons]
STANDINGS = [*REASONED, *((state, None) for state in FireState if state not in REASONS)]
MOVES = [
    (before, after) for before, after in permutations(STANDINGS, 2) if before[0] is not after[0]
]


def refused_by(work: Callable[[], object]) -> str | None:
    """The name of the constraint that refuses it; None when it is let in."""
    try:
        work()
    except IntegrityError as error:
        return error.orig.diag.constraint_name if isinstance(error.orig, psycopg.Error) else "?"
    return None


def refusal(store: PostgresStore, statement: str, **parameters: Any) -> str | None:
    return refused_by(lambda: query(store, statement, **parameters))


def refused_row(store: PostgresStore, table: str, row: Mapping[str, Any]) -> str | None:
    return refused_by(lambda: insert_rows(store, table, [row]))


@pytest.fixture(scope="module")
def store(postgres_url: str, migrated_template: str) -> Iterator[PostgresStore]:
    """One database for all: what is refused leaves nothing behind, and rows are of each test."""
    for url in temporary_database(postgres_url, migrated_template):
        opened = PostgresStore(with_driver(url, "psycopg"), pool_size=2)
        yield opened
        opened.close()


@pytest.fixture
def schedule(store: PostgresStore) -> Schedule:
    return a_schedule(store)


@pytest.fixture
def key(store: PostgresStore) -> str:
    return a_slice(store, database_now(store))


@pytest.fixture
def run(store: PostgresStore, key: str) -> str:
    return a_dispatch(store, key)


# --- the state machine ----------------------------------------------------------------------------


def test_the_database_allows_exactly_the_moves_of_the_table_in_code(
    store: PostgresStore, schedule: Schedule, key: str, run: str
) -> None:
    now = database_now(store)
    columns = ["state", "reason", "claimed_by", "claimed_at", "task_id", "task_created_at"]
    columns += ["delivered_at", "finished_at"]
    assignments = ", ".join(f"{column} = :{column}" for column in columns)
    answers = {}
    for number, (before, after) in enumerate(MOVES):
        nominal = now + timedelta(seconds=number)
        a_fire(store, schedule, key, nominal, before[0], run=run, reason=before[1])
        wanted = fire_row(schedule, key, nominal, after[0], run=run, reason=after[1])
        statement = f"update fires set {assignments} where id = :id"
        answers[before, after] = refusal(store, statement, **wanted)
    assert {move for move, answer in answers.items() if answer is None} == {
        (before, after)
        for before, after in MOVES
        if (before[0], after[0]) in LEGAL_MOVES
        or (before in REOPENINGS and after[0] is FireState.PLANNED)
        or (before, after) == STILL_SKIPPED
    }
    assert set(answers.values()) == {None, "fires_move_legally"}


@pytest.mark.parametrize("state", list(FireState))
def test_a_row_may_be_updated_without_moving(
    store: PostgresStore, schedule: Schedule, key: str, run: str, state: FireState
) -> None:
    fire = a_fire(store, schedule, key, database_now(store), state, run=run)
    query(store, "update fires set state = state, attempts = 2 where id = :id", id=fire)


# --- what a fire's row must hold ------------------------------------------------------------------


def test_the_reasons_of_each_end_are_those_of_the_table_in_code(
    store: PostgresStore, schedule: Schedule, key: str, run: str
) -> None:
    now = database_now(store)
    answers = {}
    pairs = [(state, reason) for state in FireState for reason in (None, *FireReason)]
    for number, (state, reason) in enumerate(pairs):
        row = fire_row(schedule, key, now + timedelta(seconds=number), state, run=run)
        row |= {"reason": reason and reason.value}
        answers[state, reason] = refused_row(store, "fires", row)
    unreasoned = {(state, None) for state in FireState if state not in REASONS}
    assert {pair for pair, answer in answers.items() if answer is None} == set(
        REASONED
    ) | unreasoned
    assert set(answers.values()) == {None, "state_and_reason"}


@pytest.mark.parametrize(
    ("state", "change", "constraint"),
    [
        (FireState.PLANNED, {"state": "postponed"}, "state_and_reason"),
        (FireState.WAITING, {"reason": None}, "state_and_reason"),
        (FireState.WAITING, {"finished_at": "now"}, "an_end_has_its_time"),
        (FireState.FAILED, {"reason": "bad_luck"}, "state_and_reason"),
        (FireState.SKIPPED, {"finished_at": None}, "an_end_has_its_time"),
        (FireState.PLANNED, {"finished_at": "now"}, "an_end_has_its_time"),
        (FireState.CLAIMED, {"claimed_by": None}, "a_claim_names_its_dispatch"),
        (FireState.TASK_CREATED, {"claimed_at": None}, "a_claim_names_its_dispatch"),
        (FireState.TASK_CREATED, {"task_id": None}, "a_task_comes_before_its_input"),
        (FireState.DELIVERED, {"task_created_at": None}, "a_task_comes_before_its_input"),
        (FireState.DELIVERED, {"delivered_at": None}, "delivered_when"),
        (FireState.FAILED, {"delivered_at": "now"}, "delivered_when"),
        (FireState.CLAIMED, {"recorded_at": "now"}, "only_ends_are_recorded"),
        (FireState.PLANNED, {"attempts": 6}, "fires_attempts_check"),
        (FireState.PLANNED, {"attempts": -1}, "fires_attempts_check"),
        (FireState.PLANNED, {"due_at": "2020-01-01T00:00:00Z"}, "fires_check"),
        (FireState.PLANNED, {"owed_at": "2020-01-01T00:00:00Z"}, "fires_check1"),
        (FireState.PLANNED, {"trigger_type": "whim"}, "fires_trigger_type_check"),
        (FireState.PLANNED, {"slice_key": "nowhere"}, "fires_slice_key_fkey"),
        (FireState.CLAIMED, {"claimed_by": "nobody"}, "fires_claimed_by_fkey"),
        (FireState.PLANNED, {"schedule_id": "none"}, "fires_schedule_id_fkey"),
        (FireState.PLANNED, {"agent_id": "none"}, "fires_agent_id_fkey"),
    ],
)
def test_a_fire_that_contradicts_itself_is_refused(
    store: PostgresStore,
    schedule: Schedule,
    key: str,
    run: str,
    state: FireState,
    change: dict[str, Any],
    constraint: str,
) -> None:
    row = fire_row(schedule, key, database_now(store), state, run=run)
    assert refused_row(store, "fires", row | change) == constraint


def test_an_occurrence_has_one_fire_whatever_its_id(
    store: PostgresStore, schedule: Schedule, key: str
) -> None:
    nominal = database_now(store)
    a_fire(store, schedule, key, nominal)
    row = fire_row(schedule, key, nominal) | {"id": "another"}
    assert refused_row(store, "fires", row) == "fires_one_per_occurrence"


# --- the other tables -----------------------------------------------------------------------------


def test_a_gap_has_a_length_and_begins_once(store: PostgresStore, schedule: Schedule) -> None:
    now = database_now(store)
    values = {"schedule_id": schedule.id, "from_at": now, "reason": "coalesced"}
    assert refused_row(store, "gaps", values | {"to_at": now}) == "in_order"
    later = now + timedelta(hours=1)
    assert (
        refused_row(store, "gaps", values | {"to_at": later, "reason": "boredom"})
        == "gaps_reason_check"
    )
    insert_rows(store, "gaps", [values | {"to_at": later}])
    again = values | {"to_at": later + timedelta(hours=1)}
    assert refused_row(store, "gaps", again) == "gaps_schedule_id_from_at_key"


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("update slices set kind = 'odd'", "slices_kind_check"),
        ("update slices set ends_at = starts_at", "slices_check"),
        ("update schedule_clock set next_due_at = null", "both_or_neither"),
        ("update schedule_clock set next_nominal_at = null", "both_or_neither"),
        (
            "update schedule_clock set next_due_at = next_nominal_at - interval '1 s'",
            "due_follows_nominal",
        ),
        ("update agent_run_schedules set cron_expression = '* * * * *'", "one_cadence"),
        ("update agent_run_schedules set interval_seconds = null", "one_cadence"),
        (
            "update agent_run_schedules set interval_seconds = 0",
            "agent_run_schedules_interval_seconds_check",
        ),
        (
            "update agent_run_schedules set start_at = now(), end_at = now() - interval '1 s'",
            "window_in_order",
        ),
        ("update agent_run_schedules set name = '-x'", "agent_run_schedules_name_check"),
        (
            "update agent_run_schedules set interval_phase_seconds = interval_seconds",
            "phase_within_interval",
        ),
        ("update agents set acp_type = 'telepathy'", "agents_acp_type_check"),
        ("update agents set status = 'Tired'", "agents_status_check"),
        ("update agents set name = 'Two Words'", "agents_name_check"),
        ("delete from slices", "dispatches_slice_key_fkey"),
        ("delete from agent_run_schedules", "schedule_clock_schedule_id_fkey"),
    ],
)
def test_rows_that_make_no_sense_are_refused(
    store: PostgresStore, schedule: Schedule, run: str, statement: str, constraint: str
) -> None:
    assert refusal(store, statement) == constraint


def test_the_clock_has_one_heart(store: PostgresStore) -> None:
    row = {"ticked_at": database_now(store), "tick_no": 1, "series_since": database_now(store)}
    insert_rows(store, "clock_heartbeat", [row])
    assert refused_row(store, "clock_heartbeat", row) == "clock_heartbeat_pkey"
    assert refused_row(store, "clock_heartbeat", row | {"only_row": False}) == (
        "clock_heartbeat_only_row_check"
    )


def test_an_agent_has_one_active_schedule_of_a_name(store: PostgresStore) -> None:
    agent = an_agent(store)
    first = a_schedule(store, agent, name="daily")
    second = a_schedule(store, agent)
    statement = "update agent_run_schedules set name = 'daily' where id = :id"
    assert refusal(store, statement, id=second.id) == "agent_run_schedules_active_name"
    query(store, "update agent_run_schedules set deleted_at = now() where id = :id", id=first.id)
    query(store, statement, id=second.id)


def test_the_change_history_can_only_be_appended_to(
    store: PostgresStore, schedule: Schedule
) -> None:
    row = {
        "schedule_id": schedule.id,
        "version": 1,
        "operation": "create",
        "tzdata_version": "2026a",
    }
    insert_rows(store, "schedule_changes", [row])
    for statement in ("update schedule_changes set note = 'x'", "delete from schedule_changes"):
        assert refusal(store, statement) == "schedule_changes_are_append_only"
    odd = row | {"operation": "guess"}
    assert refused_row(store, "schedule_changes", odd) == "schedule_changes_operation_check"


def test_no_index_on_fires_names_a_column_that_its_life_updates(store: PostgresStore) -> None:
    """Else an update is not HOT, and costs four times as much."""
    fixed = {
        "id", "schedule_id", "agent_id", "nominal_at", "slice_key", "forced", "trigger_type",
        # Written when a person's backfill takes a fire up, not on its way.
        "backfill_id",
    }  # fmt: skip
    rows = query(
        store,
        """
        select distinct a.attname as name
        from pg_index i
        join pg_depend d on d.objid = i.indexrelid and d.refobjid = i.indrelid
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = d.refobjsubid
        where i.indrelid = 'fires'::regclass
        union
        select a.attname from pg_index i
        join pg_attribute a on a.attrelid = i.indexrelid
        where i.indrelid = 'fires'::regclass
        """,
    )
    assert {row.name for row in rows} <= fixed


def test_updates_of_a_fires_life_are_hot(
    store: PostgresStore, schedule: Schedule, key: str, run: str
) -> None:
    fire = a_fire(store, schedule, key, database_now(store))

    def updates(connection: Connection) -> tuple[int, int]:
        found = connection.execute(
            text(
                "select n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables "
                "where relname = 'fires'"
            )
        ).one()
        return found.n_tup_upd, found.n_tup_hot_upd

    def life(connection: Connection) -> tuple[int, int]:
        before = updates(connection)
        for assignment in (
            "state = 'claimed', claimed_by = :run, claimed_at = now()",
            "state = 'task_created', task_id = 't', task_created_at = now()",
            "state = 'delivered', delivered_at = now(), finished_at = now()",
            "recorded_at = now()",
        ):
            connection.execute(
                text(f"update fires set {assignment} where id = :id"), {"id": fire, "run": run}
            )
        after = updates(connection)
        return after[0] - before[0], after[1] - before[1]

    assert store.on_connection(life) == (4, 4)
