"""Due clocks, read in batches."""

from datetime import timedelta

from bench.filling import fill, run_sql, tidy
from bench.watching import explain, watched
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import a_schedule, an_agent, database_now

INSTANT_S_CLOCKS = 5_000


def test_a_batch_of_many_clocks_due_at_one_instant_begins_in_the_midst_of_the_index(
    store: PostgresStore,
) -> None:
    """By the due time alone, each batch would read and sort all that are due at its instant."""
    due = database_now(store).replace(microsecond=0)
    fill(store, [an_agent(store).id], INSTANT_S_CLOCKS, first=due, every=60)
    tidy(store)
    middle = "select schedule_id from schedule_clock order by schedule_id offset :half limit 1"
    ((seen,),) = run_sql(store, middle, half=INSTANT_S_CLOCKS // 2)
    until = due + timedelta(minutes=1)

    with watched() as statements:
        batch = store.run(
            lambda tx: tx.clocks.read_due(since=due, until=until, after=(due, seen), limit=100)
        )

    (plan,) = explain(store, statements)
    assert len(batch) == 100
    assert min(each.schedule.id for each in batch) > seen
    assert "ROW(next_due_at, schedule_id) >" in plan
    assert "Sort" not in plan


def test_clocks_are_read_from_an_instant_on_that_one_included(store: PostgresStore) -> None:
    due = database_now(store).replace(microsecond=0)
    before, at, after = (
        a_schedule(store, every=1, clock_at=due + timedelta(seconds=number))
        for number in (-1, 0, 1)
    )
    until = due + timedelta(seconds=1)

    def read(*, since_then: bool) -> set[str]:
        since = due if since_then else None
        found = store.run(
            lambda tx: tx.clocks.read_due(since=since, until=until, after=None, limit=10)
        )
        return {each.schedule.id for each in found}

    assert read(since_then=True) == {at.id}
    assert read(since_then=False) == {before.id, at.id}
    assert after.id not in read(since_then=False)
