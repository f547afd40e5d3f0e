"""The fires that `schedules dev` prints."""

from collections.abc import Iterator

import psycopg
import pytest

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.store.landing import LandedFires
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import a_dispatch, a_fire, a_schedule, a_slice, database_now, query, seconds


@pytest.fixture
def landed(database_url: str) -> Iterator[LandedFires]:
    opened = LandedFires(database_url)
    yield opened
    opened.close()


def test_what_ended_since_then_is_told_in_the_order_in_which_it_ended(
    store: PostgresStore, landed: LandedFires
) -> None:
    at = database_now(store)
    key = a_slice(store, at)
    schedule, run = a_schedule(store), a_dispatch(store, key)
    late, early, before = (
        # Delivered at once.
        a_fire(store, schedule, key, at - seconds(age), FireState.DELIVERED, run=run)
        for age in (0, 5, 20)
    )
    a_fire(store, schedule, key, at - seconds(3), FireState.TASK_CREATED, run=run)

    found = landed.since(at - seconds(10))

    assert [fire.fire_id for fire in found] == [early, late]
    assert len(landed.since(at - seconds(60))) == len({late, early, before})
    assert (found[0].schedule_name, found[0].state) == (schedule.name, FireState.DELIVERED)
    assert found[0].reason is None


def test_a_lost_connection_fails_one_look_and_the_next_opens_another(
    store: PostgresStore, landed: LandedFires
) -> None:
    now = database_now(store)
    assert landed.since(now) == []
    query(
        store,
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'schedules dev' and datname = current_database()",
    )

    with pytest.raises(psycopg.OperationalError):
        landed.since(now)

    assert landed.since(now) == []
