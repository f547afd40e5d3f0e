"""The sensor is stopped with slices armed; an hour passes; what Dagster kept is started at last.

Nothing goes out stale: a run that comes an hour late judges each fire at its claim.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from schedules_pipeline.domain.policies import CatchupPolicy, Policies
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.ledger import RULES, a_schedule, an_agent, database_now, query, the_clock_ticked
from tests.services.working import inputs, work_slice
from tests.simulated import give_a_clock, set_clock

HOUR = timedelta(hours=1)


@pytest.fixture
def simulated(own_database_url: str) -> Iterator[tuple[PostgresStore, str]]:
    """A store whose clock is the test's."""
    give_a_clock(own_database_url)
    store = PostgresStore(with_driver(own_database_url, "psycopg"), pool_size=3)
    yield store, own_database_url
    store.close()


def ends_of(store: PostgresStore, schedule: Schedule) -> set[tuple[str, str | None]]:
    rows = query(store, "select state, reason from fires where schedule_id = :id", id=schedule.id)
    return {(row.state, row.reason) for row in rows}


@pytest.mark.parametrize(
    ("policy", "end"),
    [
        (CatchupPolicy.LATEST, ("missed", "coalesced")),
        (CatchupPolicy.NONE, ("missed", "catchup_none")),
        (CatchupPolicy.ALL, ("delivered", None)),
    ],
)
def test_an_armed_slice_that_is_worked_an_hour_late_delivers_only_what_its_policy_asks_for(
    simulated: tuple[PostgresStore, str],
    recorder: RunningAgent,
    policy: CatchupPolicy,
    end: tuple[str, str | None],
) -> None:
    store, url = simulated
    policies = Policies(catchup_policy=policy, catchup_window_seconds=7_200)
    a_schedule(store, an_agent(store, recorder.url), every=20, policies=policies)
    armed = Clock(store, RULES, Tasks(store).not_final).tick(lambda _since: [])
    planned = [row.id for row in query(store, "select id from fires")]
    assert armed
    assert planned

    set_clock(url, database_now(store) + HOUR)
    the_clock_ticked(store, ago=3_600, series=0)
    for each in armed:
        work_slice(url, each.slice_key, run=f"late-{each.slice_key}")

    worked = [each.slice_key for each in armed]
    rows = query(store, "select id, state, reason from fires where slice_key = any(:keys)",
                 keys=worked)  # fmt: skip
    assert {(row.state, row.reason) for row in rows} == {end}
    went_out = {request["idempotency_key"] for request in inputs(recorder, planned)}
    assert went_out == ({row.id for row in rows} if end[0] == "delivered" else set())


def test_the_clock_that_goes_on_covers_the_hour_and_delivers_what_is_timely(
    simulated: tuple[PostgresStore, str], recorder: RunningAgent
) -> None:
    store, url = simulated
    schedule = a_schedule(store, an_agent(store, recorder.url), every=20)
    clock = Clock(store, RULES, Tasks(store).not_final)
    clock.tick(lambda _since: [])

    set_clock(url, database_now(store) + HOUR)
    now = database_now(store)
    clock.tick(lambda _since: [])

    (gap,) = query(store, "select from_at, to_at, reason from gaps")
    assert gap.reason == "coalesced"
    assert now - timedelta(seconds=60) <= gap.to_at <= now
    late = query(store, "select nominal_at from fires where schedule_id = :id and slice_key in "
                        "(select slice_key from slices where kind = 'backlog')",
                 id=schedule.id)  # fmt: skip
    assert late == [], "nothing of that hour is made up"
    ahead = query(store, "select nominal_at from fires where nominal_at > :at", at=gap.to_at)
    assert ahead, "and what comes now is planned"
