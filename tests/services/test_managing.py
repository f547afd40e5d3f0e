"""Schedules, decided under concurrency: real transactions, real connections."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import psycopg
import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.errors import InvalidCadence, NotFound, Rejected
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import PlanningRules
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.factories import a_draft, an_agent

RULES = PlanningRules(horizon=timedelta(seconds=30), grace=timedelta(seconds=60))


@pytest.fixture
def schedules(store: PostgresStore) -> Schedules:
    store.run(lambda tx: tx.agents.register(an_agent()))
    return Schedules(store, RULES)


def _rows(database_url: str, question: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(question.encode()).fetchall()


def test_of_fifty_who_want_one_name_one_gets_it(schedules: Schedules, database_url: str) -> None:
    together = Barrier(10)

    def create(number: int) -> str:
        if number < 10:
            together.wait()
        try:
            schedules.create("agent-1", a_draft(), {})
        except Rejected:
            return "refused"
        return "created"

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(create, range(50)))
    assert sorted(outcomes) == ["created"] + ["refused"] * 49
    counted = (
        "select (select count(*) from {}), (select count(*) from {}), (select count(*) from {})"
    )
    tables = ("agent_run_schedules", "schedule_clock", "schedule_changes")
    assert _rows(database_url, counted.format(*tables)) == [(1, 1, 1)]


def test_a_create_that_fails_leaves_nothing(schedules: Schedules, database_url: str) -> None:
    with pytest.raises(InvalidCadence):
        schedules.create("agent-1", a_draft(cadence=Cadence(cron_expression="nonsense")), {})
    with pytest.raises(NotFound):
        schedules.create("nobody", a_draft(), {})
    assert _rows(database_url, "select count(*) from agent_run_schedules") == [(0,)]


def test_create_sets_the_clock_to_the_first_occurrence_ahead(
    schedules: Schedules, database_url: str
) -> None:
    fire_at = datetime(2090, 1, 1, tzinfo=UTC)
    schedules.create("agent-1", a_draft(cadence=Cadence(fire_at=fire_at)), {})
    assert _rows(database_url, "select next_nominal_at, next_due_at from schedule_clock") == [
        (fire_at, fire_at)
    ]


def test_what_is_due_before_the_frontier_is_planned_with_the_create(
    schedules: Schedules, database_url: str
) -> None:
    """Each minute that begins within the horizon has its slice, and the clock stands behind it."""
    schedules.create("agent-1", a_draft(cadence=Cadence(interval_seconds=5)), {})
    ((fires, slices, last, clock),) = _rows(
        database_url,
        """
        select count(*), count(distinct slice_key), max(nominal_at),
               (select next_nominal_at from schedule_clock)
        from fires where state = 'planned'
        """,
    )
    assert isinstance(fires, int)
    assert fires >= 5
    assert slices in (1, 2)
    assert isinstance(last, datetime)
    assert clock == last + timedelta(seconds=5)
    assert last.second == 55
