"""Definitions, their history and their live data in PostgreSQL."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, DstFold, DstGap
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.factories import NOW, a_schedule, an_agent

FULL_CADENCE = Cadence(
    cron_expression="30 2 1,15 * sun",
    timezone="Europe/Berlin",
    cron_day_match=CronDayMatch.ALL,
    exclude_cron=("* * 25 12 *", "0 3 * * *"),
    dst_gap=DstGap.SKIP,
    dst_fold=DstFold.BOTH,
    start_at=NOW,
    end_at=NOW + timedelta(days=400, microseconds=1),
    jitter_seconds=90,
)


@pytest.fixture
def agent_store(store: PostgresStore) -> PostgresStore:
    store.run(lambda tx: tx.agents.register(an_agent()))
    return store


@pytest.mark.parametrize(
    "cadence",
    [
        FULL_CADENCE,
        Cadence(interval_seconds=3600, interval_phase_seconds=3599),
        Cadence(fire_at=datetime(2090, 1, 1, tzinfo=UTC)),
    ],
    ids=["cron", "interval", "once"],
)
def test_a_schedule_comes_back_as_it_was_stored(
    agent_store: PostgresStore, cadence: Cadence
) -> None:
    schedule = a_schedule(
        cadence=cadence,
        task_params={"p": [1, None, "ü", 2.5]},
        task_metadata={},
        creator_principal={"user_id": "u"},
        paused=True,
        description="all of it",
    )
    assert agent_store.run(lambda tx: tx.schedules.insert(schedule))
    assert agent_store.run(lambda tx: tx.schedules.get("agent-1", schedule.id)) == schedule
    assert agent_store.run(lambda tx: tx.schedules.get_by_name("agent-1", "hourly")) == schedule
    assert agent_store.run(lambda tx: tx.schedules.list("agent-1", limit=5)) == [schedule]


def test_an_active_name_is_unique_and_free_again_after_a_delete(
    agent_store: PostgresStore,
) -> None:
    def insert(schedule_id: str) -> bool:
        return agent_store.run(lambda tx: tx.schedules.insert(a_schedule(id=schedule_id)))

    assert insert("one")
    assert not insert("two")
    deleted = agent_store.run(lambda tx: tx.schedules.mark_deleted("one"))
    assert deleted is not None
    assert (deleted.version, deleted.deleted_at is None) == (2, False)
    assert agent_store.run(lambda tx: tx.schedules.mark_deleted("one")) is None
    assert insert("two")
    assert agent_store.run(lambda tx: tx.schedules.get("agent-1", "one")) is None


def test_a_change_keeps_the_whole_definition_before_and_after(
    agent_store: PostgresStore, database_url: str
) -> None:
    before = a_schedule(cadence=FULL_CADENCE)

    def work(tx: Transaction) -> None:
        tx.schedules.insert(before)
        after = tx.schedules.mark_deleted(before.id)
        assert after is not None
        tx.schedules.record_change(
            before,
            after,
            operation="delete",
            actor={"user_id": "u"},
            at=tx.now(),
            tzdata_version="2026a",
        )

    agent_store.run(work)
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select version, operation, actor, tzdata_version, before, after from schedule_changes"
            " where operation = 'delete'"
        ).fetchone()
    assert row is not None
    assert row[:4] == (2, "delete", {"user_id": "u"}, "2026a")
    assert row[4]["exclude_cron"] == ["* * 25 12 *", "0 3 * * *"]
    assert (row[4]["deleted_at"], row[5]["deleted_at"] is None) == (None, False)
    assert row[4]["start_at"] == NOW.isoformat()


@pytest.mark.parametrize(
    "values",
    [
        "interval_seconds = null",
        "cron_expression = '0 9 * * *'",
        "fire_at = now()",
        "interval_phase_seconds = 3600",
        "interval_phase_seconds = -1",
        "jitter_seconds = -1",
        "cron_day_match = 'neither'",
        "dst_gap = 'x'",
        "dst_fold = 'x'",
    ],
)
def test_the_database_itself_refuses_a_cadence_that_is_none(
    agent_store: PostgresStore, database_url: str, values: str
) -> None:
    agent_store.run(lambda tx: tx.schedules.insert(a_schedule()))
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"update agent_run_schedules set {values}".encode())


def _with_clock(tx: Transaction, schedule: Schedule, next_at: datetime | None) -> None:
    tx.schedules.create(schedule, None if next_at is None else (next_at, next_at), "x")


def test_activity_of_many_schedules_is_one_question(agent_store: PostgresStore) -> None:
    ahead = datetime(2090, 1, 1, tzinfo=UTC)
    agent_store.run(lambda tx: _with_clock(tx, a_schedule(id="a", name="a"), ahead))
    agent_store.run(lambda tx: _with_clock(tx, a_schedule(id="b", name="b"), None))

    activity = agent_store.run(lambda tx: tx.schedules.activity(["a", "b", "c"], ahead=10))
    assert activity.keys() == {"a", "b"}
    assert (activity["a"].next_nominal_at, activity["b"].next_nominal_at) == (ahead, None)
    assert activity["a"].planned_ahead == activity["a"].skipped == ()
    assert (activity["a"].fire_count, activity["a"].last_fire_at) == (0, None)


def test_only_skips_that_are_ahead_are_live_and_all_are_kept(
    agent_store: PostgresStore, database_url: str
) -> None:
    agent_store.run(lambda tx: _with_clock(tx, a_schedule(), None))
    past, ahead = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
    with psycopg.connect(database_url) as connection:
        for at in (past, ahead):
            connection.execute("insert into schedule_skips values ('schedule-1', %s)", (at,))
    activity = agent_store.run(lambda tx: tx.schedules.activity(["schedule-1"], ahead=10))
    assert activity["schedule-1"].skipped == (ahead,)
    assert agent_store.run(lambda tx: tx.schedules.skips("schedule-1")) == {past, ahead}


def test_a_page_of_the_list_is_read_from_its_index(own_database_url: str) -> None:
    """At ten thousand rows they would be sorted, all of them, if no index served the order."""
    with psycopg.connect(own_database_url, autocommit=True) as connection:
        connection.execute(
            """
            insert into agents (id, name, description, acp_type, acp_url, api_key)
            values ('agent-1', 'a', '', 'sync', '', '')
            """
        )
        connection.execute(
            """
            insert into agent_run_schedules (id, agent_id, name, interval_seconds, initial_input)
            select 's' || n, 'agent-1', 's' || n, 60, '{"author": "user", "content": "hi"}'
            from generate_series(1, 10000) n
            """
        )
        connection.execute("analyze agent_run_schedules")
        plan = connection.execute(
            """
            explain select * from agent_run_schedules where agent_id = 'agent-1'
            and deleted_at is null order by created_at desc, id limit 100
            """
        ).fetchall()
    text = "\n".join(line[0] for line in plan)
    assert "agent_run_schedules_newest_first" in text
    assert "Sort" not in text
