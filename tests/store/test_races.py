"""Two at once, with real commits: nothing is lost or doubled, and nobody deadlocks."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, text

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.slices import Slice, SliceKind, floor_hour, floor_minute
from schedules_pipeline.errors import DispatchEnded
from schedules_pipeline.services.claiming import claim
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import EndedRun, OpenFire, Outcome
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.store.slices import PostgresSlices
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    GRACE,
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    delete_schedule,
    end_dispatch,
    many_fires,
    one,
    past_slice,
    query,
    schedule_of,
    see_fire,
    states,
)

ROUNDS = int(os.environ.get("SCHEDULES_TEST_ROUNDS", "1"))


def rounds(number: int) -> range:
    """So many in the gate; `make soak` multiplies them."""
    return range(number * ROUNDS)


def at_once(*works: Callable[[], object]) -> None:
    """Run them in threads that start together; raises what any of them raised."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait()
        work()

    with ThreadPoolExecutor(len(works)) as threads:
        for done in [threads.submit(run, work) for work in works]:
            done.result(60)


def deadlocks(store: PostgresStore) -> int:
    query(store, "select pg_stat_force_next_flush()")
    return int(
        one(store, "select deadlocks from pg_stat_database where datname = current_database()")
    )


def claim_everything(store: PostgresStore, key: str, run: str, taken: list[str]) -> None:
    """What a worker does, without the agents: look, claim 100 at a time, until nothing is open."""

    def look() -> list[OpenFire]:
        return list(store.run(lambda tx: tx.claims.open_in(key, run, 5_000)))

    held: set[str] = set()
    while wanted := [fire for fire in look() if fire.id not in held]:
        for start in range(0, len(wanted), 100):
            part = wanted[start : start + 100]
            result = store.run(lambda tx, part=part: claim(tx, part, run, GRACE))  # type: ignore[misc]
            taken += [fire.fire_id for fire in result.claimed]
            held.update(fire.fire_id for fire in result.claimed)


def test_two_runs_on_one_slice_claim_each_fire_once(store: PostgresStore) -> None:
    for _ in rounds(4):
        key = past_slice(store)
        fires = many_fires(store, an_agent(store), key, 500)
        runs = [a_dispatch(store, key), a_dispatch(store, key)]
        taken: list[list[str]] = [[], []]
        at_once(
            partial(claim_everything, store, key, runs[0], taken[0]),
            partial(claim_everything, store, key, runs[1], taken[1]),
        )
        assert Counter(taken[0] + taken[1]) == Counter(fires)
        assert all(taken)
        owners = query(store, "select claimed_by, count(*) as number from fires "
                              "where slice_key = :key and claimed_by = any(:runs) "
                              "group by claimed_by", key=key, runs=runs)  # fmt: skip
        assert {row.claimed_by: row.number for row in owners} == {
            run: len(found) for run, found in zip(runs, taken, strict=True)
        }
    assert one(store, "select count(*) from schedule_clock where fire_count <> 1") == 0
    assert one(store, "select count(*) from tasks") == 500 * len(rounds(4))
    assert deadlocks(store) == 0


def test_a_delete_and_a_claim_at_once_are_seen_in_one_order_or_the_other(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    run = a_dispatch(store, key)
    for _ in rounds(25):
        schedule = a_schedule(store, stopped=True)
        fire = a_fire(store, schedule, key, database_now(store))
        wanted = [OpenFire(id=fire, schedule_id=schedule.id, agent_id=schedule.agent_id,
                           due_at=database_now(store))]  # fmt: skip

        def try_claim(wanted: list[OpenFire] = wanted) -> None:
            while store.run(lambda tx: claim(tx, wanted, run, GRACE)).locked:
                pass

        at_once(try_claim, partial(delete_schedule, store, schedule))
        deleted_at = one(
            store, "select deleted_at from agent_run_schedules where id = :id", id=schedule.id
        )
        row = query(store, "select state, reason, claimed_at from fires where id = :id", id=fire)[0]
        assert (row.state, row.reason) in [("claimed", None), ("skipped", "deleted")]
        assert row.claimed_at is None or row.claimed_at <= deleted_at


def test_what_a_delete_has_committed_every_later_claim_sees(store: PostgresStore) -> None:
    key = past_slice(store)
    run = a_dispatch(store, key)
    schedule = a_schedule(store, stopped=True)
    fire = a_fire(store, schedule, key, database_now(store))
    delete_schedule(store, schedule)
    wanted = store.run(lambda tx: tx.claims.open_in(key, run, 10))
    result = store.run(lambda tx: claim(tx, wanted, run, GRACE))
    assert result.claimed == []
    assert (see_fire(store, fire).state, see_fire(store, fire).reason) == ("skipped", "deleted")


def test_many_join_a_settled_slice_at_once_without_a_deadlock(store: PostgresStore) -> None:
    minute = floor_minute(database_now(store)) - timedelta(minutes=5)
    slices = [Slice(SliceKind.MINUTE, minute), Slice(SliceKind.SYNC, minute)]
    keys = [each.key for each in slices]
    both_in = threading.Barrier(2)
    real = PostgresSlices.open

    def join(connection: Connection) -> None:
        connection.execute(text("select 1"))
        both_in.wait(10)
        real(PostgresSlices(connection), slices, minute)

    store.on_connection(lambda connection: real(PostgresSlices(connection), slices, minute))
    for _ in rounds(30):
        query(store, "update slices set settled_at = now() where slice_key = any(:k)", k=keys)

        def once() -> None:
            with store.transaction() as connection:
                join(connection)

        at_once(once, once)
        assert one(store, "select count(*) from slices where settled_at is not null") == 0
    assert deadlocks(store) == 0


def test_a_fire_that_joins_while_its_slice_settles_leaves_it_unsettled(
    store: PostgresStore,
) -> None:
    schedule = a_schedule(store, stopped=True)
    minute = floor_minute(database_now(store)) - timedelta(minutes=5)
    joined = Slice(SliceKind.MINUTE, minute)
    for number in range(30):
        store.run(lambda tx: tx.slices.open([joined], minute))
        nominal = minute + timedelta(seconds=number)

        def join(nominal: datetime = nominal) -> None:
            with store.transaction() as connection:
                PostgresSlices(connection).open([joined], minute)
                connection.execute(
                    text(
                        "insert into fires (id, idempotency_key, schedule_id, agent_id, "
                        "nominal_at, due_at, owed_at, trigger_type, slice_key) "
                        "values (:id, :id, :schedule, :agent, :at, :at, :at, 'scheduled', :key)"
                    ),
                    {
                        "id": f"f{nominal}",
                        "schedule": schedule.id,
                        "agent": schedule.agent_id,
                        "at": nominal,
                        "key": joined.key,
                    },
                )

        at_once(join, lambda: store.run(lambda tx: tx.slices.settle([joined.key])))
        assert one(store, "select settled_at from slices") is None
        query(
            store,
            "update fires set state = 'skipped', reason = 'paused', finished_at = now(), "
            "recorded_at = now() where state = 'planned'",
        )
        store.run(lambda tx: tx.slices.settle([joined.key]))
        assert one(store, "select settled_at from slices") is not None


def test_a_run_that_ends_while_it_writes_has_either_written_before_or_writes_nothing(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    agent = an_agent(store)
    refused = 0
    for _ in rounds(25):
        run = a_dispatch(store, key)
        (fire,) = many_fires(store, agent, key, 1, state=FireState.TASK_CREATED, run=run)
        outcome = Outcome(
            fire_id=fire,
            schedule_id=schedule_of(store, fire),
            state=FireState.DELIVERED,
            attempts=1,
        )
        answers: list[bool] = []

        def write(
            run: str = run, outcome: Outcome = outcome, answers: list[bool] = answers
        ) -> None:
            def work(tx: Transaction) -> set[str]:
                tx.dispatches.require_live(run)
                return tx.claims.write_outcomes([outcome], run)

            try:
                answers.append(store.run(work) == {outcome.fire_id})
            except DispatchEnded:
                answers.append(False)

        ended = [EndedRun(dagster_run_id=run, slice_key=key)]
        at_once(write, lambda ended=ended: store.run(lambda tx: tx.dispatches.finish_ended(ended)))  # type: ignore[misc]
        written = see_fire(store, fire).state == "delivered"
        assert answers == [written]
        refused += not written
    assert states(store).get("task_created", 0) == refused


def test_ticks_that_end_the_same_runs_at_once_act_once(store: PostgresStore) -> None:
    key = past_slice(store)
    for _ in rounds(10):
        runs = [a_dispatch(store, key) for _ in range(20)]
        never_began = [f"{run}-stillborn" for run in runs]
        ended = [EndedRun(dagster_run_id=run, slice_key=key) for run in runs + never_began]
        answers: list[Mapping[str, str]] = []

        def finish(
            ended: list[EndedRun] = ended, answers: list[Mapping[str, str]] = answers
        ) -> None:
            answers.append(store.run(lambda tx: tx.dispatches.finish_ended(ended)))

        def end_all(some: list[str]) -> None:
            for run in some:
                end_dispatch(store, run)

        at_once(finish, finish, partial(end_all, runs[:5]))
        acted_on = Counter(run for answer in answers for run in answer)
        assert set(acted_on.values()) == {1}
        assert {*runs[5:], *never_began} <= set(acted_on)
        assert {slice_key for answer in answers for slice_key in answer.values()} == {key}
        assert one(store, "select count(*) from dispatches where finished_at is null") == 0


def test_a_trigger_and_the_end_of_the_standby_at_once_leave_the_fire_owed(
    store: PostgresStore,
) -> None:
    """Whichever slice it joined: that one is handed over next, and nobody waits for anybody."""
    schedule = a_schedule(store, stopped=True)
    clock = Clock(store, RULES, Tasks(store).not_final, standby=True)
    before = deadlocks(store)
    for _ in rounds(10):
        clock.tick(lambda _since: ())
        hour = floor_hour(database_now(store))
        run = a_dispatch(store, Slice(SliceKind.NOW, hour).key)
        ended = EndedRun(dagster_run_id=run, slice_key=Slice(SliceKind.NOW, hour).key)
        triggered: list[str] = []
        emitted: list[str] = []

        def trigger(triggered: list[str] = triggered) -> None:
            triggered.append(Triggers(store).trigger(schedule.agent_id, schedule.id))

        def tick(emitted: list[str] = emitted, ended: EndedRun = ended) -> None:
            emitted += [each.slice_key for each in clock.tick(lambda _since: [ended])]

        at_once(trigger, tick)
        joined = one(store, "select slice_key from fires where id = :id", id=triggered[0])
        query(store, "update slices set emit_after = statement_timestamp()")
        emitted += [each.slice_key for each in clock.tick(lambda _since: ())]
        assert joined in emitted
        assert see_fire(store, triggered[0]).state == "planned"
    assert deadlocks(store) == before
