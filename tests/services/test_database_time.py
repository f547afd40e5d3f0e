"""The worker's reckoning of the database's clock."""

from datetime import timedelta

from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.store.unit_of_work import PostgresStore


def test_it_agrees_with_the_database_to_a_few_milliseconds(store: PostgresStore) -> None:
    clock = DatabaseTime(store)
    clock.measure()

    before, reckoned, after = store.now(), clock.now(), store.now()

    assert before - timedelta(milliseconds=5) <= reckoned <= after + timedelta(milliseconds=5)


def test_a_clock_that_was_set_is_followed_at_the_next_look(store: PostgresStore) -> None:
    for off in (timedelta(seconds=10), timedelta(seconds=-10)):
        clock = DatabaseTime(store)
        clock.measure()
        assert clock._origin is not None
        clock._origin += off

        store.run(clock.check)

        assert abs(clock.now() - store.now()) < timedelta(milliseconds=50)


def test_a_good_reckoning_is_kept_whatever_noise_a_look_brings(store: PostgresStore) -> None:
    clock = DatabaseTime(store)
    clock.measure()
    measured = clock._origin

    for _ in range(50):
        store.run(clock.check)

    assert clock._origin == measured


def test_sleeping_until_an_instant_ends_after_it_by_the_databases_clock(
    store: PostgresStore,
) -> None:
    clock = DatabaseTime(store)
    for ahead in (timedelta(milliseconds=30), timedelta(milliseconds=-30)):
        until = clock.now() + ahead
        clock.sleep_until(until)
        assert store.now() >= until
