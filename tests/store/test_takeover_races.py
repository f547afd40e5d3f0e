"""A run that is given up against the run itself, and tick against tick: one of them has it."""

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.errors import AnotherTick, DispatchEnded
from schedules_pipeline.services.claiming import claim
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import EndedRun, Outcome
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    GRACE,
    RULES,
    a_dispatch,
    a_schedule,
    an_agent,
    database_now,
    many_fires,
    one,
    past_slice,
    query,
    schedule_of,
    seconds,
    see_fire,
)
from tests.store.test_races import at_once, deadlocks, rounds


def test_an_outcome_and_a_take_over_at_once_never_both_have_the_fire(store: PostgresStore) -> None:
    key, agent = past_slice(store), an_agent(store)
    sides = {"written": 0, "taken over": 0}
    for number in rounds(25):
        first, second = a_dispatch(store, key), a_dispatch(store, key)
        fires = many_fires(store, agent, key, 3, state=FireState.TASK_CREATED, run=first)
        delivered = [
            Outcome(
                fire_id=fire,
                schedule_id=schedule_of(store, fire),
                state=FireState.DELIVERED,
                attempts=1,
            )
            for fire in fires
        ]
        written: set[str] = set()
        taken: set[str] = set()

        def write(
            run: str = first, outcomes: list[Outcome] = delivered, into: set[str] = written
        ) -> None:
            def work(tx: Transaction) -> set[str]:
                tx.dispatches.require_live(run)
                return tx.claims.write_outcomes(outcomes, run)

            try:
                into |= store.run(work)
            except DispatchEnded:
                return

        def take_over(run: str = second, of: str = first, into: set[str] = taken) -> None:
            def work(tx: Transaction) -> set[str]:
                tx.dispatches.require_live(run)
                return {
                    f.fire_id
                    for f in claim(tx, tx.claims.open_in(key, run, 10), run, GRACE).claimed
                }

            store.run(
                lambda tx: tx.dispatches.finish_ended([EndedRun(dagster_run_id=of, slice_key=key)])
            )
            into |= store.run(work)

        at_once(*((write, take_over) if number % 2 else (take_over, write)))
        assert written.isdisjoint(taken)
        assert written | taken == set(fires)
        for fire in fires:
            seen = see_fire(store, fire)
            assert seen.state == ("delivered" if fire in written else "task_created")
            assert seen.claimed_by == (first if fire in written else second)
        sides["written" if written else "taken over"] += 1
        query(store, "update fires set state = 'delivered', delivered_at = now(), "
                     "finished_at = now() where state = 'task_created'")  # fmt: skip
    assert deadlocks(store) == 0


def test_a_heartbeat_and_a_declaration_of_death_at_once_agree(store: PostgresStore) -> None:
    key = past_slice(store)
    for _ in rounds(40):
        run = a_dispatch(store, key, heartbeat_age=40)
        answers: list[bool] = []
        dead: set[str] = set()
        silent_since = database_now(store) - seconds(30)

        def beat(run: str = run, said: list[bool] = answers) -> None:
            said.append(store.run(lambda tx: tx.dispatches.heartbeat(run)))

        def declare(since: object = silent_since, into: set[str] = dead) -> None:
            into |= store.run(lambda tx: tx.dispatches.declare_dead(since))  # type: ignore[arg-type]

        at_once(beat, declare)
        finished = one(
            store, "select finished_at is not null from dispatches where dagster_run_id = :r", r=run
        )
        assert answers == [not finished]
        assert dead == ({key} if finished else set())
        query(store, "update dispatches set finished_at = now() where finished_at is null")


def test_two_whole_ticks_at_once_plan_and_emit_each_thing_once(store: PostgresStore) -> None:
    agent = an_agent(store)
    for _ in rounds(10):
        schedules = [a_schedule(store, agent, every=20) for _ in range(5)]
        emitted: list[str] = []

        def tick(into: list[str] = emitted) -> None:
            try:
                into += [
                    each.run_key
                    for each in Clock(store, RULES, Tasks(store).not_final).tick(lambda _since: [])
                ]
            except AnotherTick:
                return

        at_once(tick, tick, tick)
        assert sorted(emitted) == sorted(set(emitted))
        assert emitted, "one of them was the tick"
        doubled = one(
            store,
            "select count(*) from (select 1 from fires where schedule_id = any(:ids) "
            "group by schedule_id, nominal_at having count(*) > 1) as twice",
            ids=[schedule.id for schedule in schedules],
        )
        assert doubled == 0
        query(
            store,
            "delete from fires; update slices set emit_count = 0, emit_after = '-infinity'; "
            "update schedule_clock set next_nominal_at = null, next_due_at = null",
        )
    assert deadlocks(store) == 0
