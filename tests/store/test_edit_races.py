"""Edits against edits, ticks and claims, on real connections: what a 200 promised, holds."""

import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from schedules_pipeline.domain.occurrences import occurrences
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.errors import NotFound, Rejected
from schedules_pipeline.services.claiming import claim
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.stored import OpenFire
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    GRACE,
    INSTANT,
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    one,
    past_slice,
    query,
    seconds,
)
from tests.store.test_races import at_once, deadlocks, rounds


def patch(editor: Editor, schedule: Schedule, **given: Any) -> None:
    editor.update(schedule.agent_id, schedule.id, partial(patched, given=given), {})


def pause(editor: Editor, schedule: Schedule) -> None:
    editor.pause(schedule.agent_id, schedule.id, {}, None)


def open_fire(store: PostgresStore, schedule: Schedule, fire: str) -> Sequence[OpenFire]:
    now = database_now(store)
    return [OpenFire(id=fire, schedule_id=schedule.id, agent_id=schedule.agent_id, due_at=now)]


def test_edits_at_once_lose_nothing(store: PostgresStore) -> None:
    editor, agent = Editor(store, RULES), an_agent(store)
    for _ in rounds(25):
        schedule = a_schedule(store, agent, every=5)
        nominal = next(occurrences(schedule.cadence, database_now(store) + seconds(3_600)))
        at_once(
            partial(pause, editor, schedule),
            partial(patch, editor, schedule, description="new"),
            partial(patch, editor, schedule, interval_seconds=10),
            partial(patch, editor, schedule, task_params={"p": 1}),
            partial(editor.skip, agent.id, schedule.id, nominal.replace(second=0), {}),
        )
        after = store.run(lambda tx, of=schedule.id: tx.schedules.find(of))  # type: ignore[misc]
        assert after is not None
        assert (after.paused, after.description, after.task_params) == (True, "new", {"p": 1})
        assert (after.cadence.interval_seconds, after.version) == (10, 6)
        clock = one(store, "select next_due_at from schedule_clock where schedule_id = :id",
                    id=schedule.id)  # fmt: skip
        assert clock is None
        versions = query(store, "select version from schedule_changes where schedule_id = :id "
                                "order by id", id=schedule.id)  # fmt: skip
        assert [row.version for row in versions] == [2, 3, 4, 5, 6]
    assert deadlocks(store) == 0


def test_ticks_and_edits_of_when_leave_every_occurrence_covered_once(store: PostgresStore) -> None:
    """Two ticks run without a break while ten schedules' cadences change under them."""
    chance = random.Random(5)
    editor, agent = Editor(store, RULES), an_agent(store)
    schedules = [a_schedule(store, agent, every=5) for _ in range(10)]
    over = threading.Event()

    def tick() -> None:
        while not over.is_set():
            Planner(store, RULES).plan(lambda: False)

    def edit() -> None:
        try:
            for _ in rounds(150):
                schedule = chance.choice(schedules)
                what = chance.choice(["cadence", "cadence", "pause", "resume"])
                if what == "cadence":
                    patch(editor, schedule, interval_seconds=chance.choice([1, 2, 5, 7, 30]))
                elif what == "pause":
                    pause(editor, schedule)
                else:
                    editor.resume(agent.id, schedule.id, {}, None)
        finally:
            over.set()

    at_once(edit, tick, tick)
    for schedule in schedules:
        editor.resume(agent.id, schedule.id, {}, None)
    now = database_now(store)
    Planner(store, RULES).plan(lambda: False)
    for schedule in schedules:
        standing = store.run(lambda tx, of=schedule.id: tx.schedules.find(of))  # type: ignore[misc]
        assert standing is not None
        clock = one(store, "select next_nominal_at from schedule_clock where schedule_id = :id",
                    id=schedule.id)  # fmt: skip
        wanted = [at for at in occurrences(standing.cadence, now, clock) if at < clock]
        rows = query(store, "select nominal_at from fires where schedule_id = :id "
                            "and state = 'planned' and nominal_at > :now order by nominal_at",
                     id=schedule.id, now=now)  # fmt: skip
        assert [row.nominal_at for row in rows] == wanted
        assert next(occurrences(standing.cadence, clock - INSTANT)) == clock
    assert deadlocks(store) == 0


def test_a_claim_and_an_edit_at_once_are_seen_in_one_order_or_the_other(
    store: PostgresStore,
) -> None:
    """Not one fire goes out under what an edit, answered before its claim, had taken back."""
    key = past_slice(store)
    run = a_dispatch(store, key)
    editor, agent = Editor(store, RULES), an_agent(store)
    sides = {"claimed": 0, "ended": 0}
    for number in rounds(60):
        schedule = a_schedule(store, agent, stopped=True)
        fire = a_fire(store, schedule, key, database_now(store) - seconds(1))
        wanted = open_fire(store, schedule, fire)
        operation = ("pause", "delete", "input")[number % 3]
        carried: list[str] = []

        def work(wanted: Sequence[OpenFire] = wanted, carried: list[str] = carried) -> None:
            while True:
                result = store.run(lambda tx: claim(tx, wanted, run, GRACE))
                carried += [each.assignment.input_content for each in result.claimed]
                if not result.locked:
                    return

        edit: Callable[[], None] = {
            "pause": partial(pause, editor, schedule),
            "delete": partial(editor.delete, agent.id, schedule.id, {}),
            "input": partial(
                patch,
                editor,
                schedule,
                initial_input={"type": "text", "author": "user", "content": "new"},
            ),
        }[operation]
        first, second = (work, edit) if number % 2 else (edit, work)
        at_once(first, second)
        (row,) = query(
            store,
            "select f.state, f.reason, f.schedule_version, f.claimed_at, s.updated_at "
            "from fires f join agent_run_schedules s on s.id = f.schedule_id where f.id = :id",
            id=fire,
        )
        if operation == "input":
            assert carried == [{1: "hi", 2: "new"}[row.schedule_version]]
            before = row.schedule_version == 1
        else:
            before = row.state == "claimed"
            reason = {"pause": "paused", "delete": "deleted"}[operation]
            assert before or (row.state, row.reason) == ("skipped", reason)
            assert len(carried) == before
        if row.claimed_at is not None:
            assert (row.claimed_at <= row.updated_at) == before
        sides["claimed" if before else "ended"] += 1
    assert deadlocks(store) == 0


def test_a_skip_and_a_claim_at_once_never_both_succeed(own_database_url: str) -> None:
    """A fire that is due before its nominal time, so that the skip may still come."""
    store = PostgresStore(with_driver(own_database_url, "psycopg"), pool_size=4)
    query(store, "alter table fires drop constraint fires_check")
    key = past_slice(store)
    run = a_dispatch(store, key)
    editor, agent = Editor(store, RULES), an_agent(store)
    for _ in rounds(30):
        schedule = a_schedule(store, agent, every=1, stopped=True)
        nominal = database_now(store).replace(microsecond=0) + seconds(30)
        fire = a_fire(store, schedule, key, nominal)
        query(store, "update fires set due_at = nominal_at - interval '40 s' where id = :id",
              id=fire)  # fmt: skip
        answers: list[str] = []

        def skip(schedule: Schedule = schedule, at: Any = nominal, said: Any = answers) -> None:
            try:
                editor.skip(agent.id, schedule.id, at, {})
                said.append("skipped")
            except Rejected:
                said.append("refused")

        wanted = open_fire(store, schedule, fire)

        def work(wanted: Sequence[OpenFire] = wanted, said: list[str] = answers) -> None:
            while True:
                result = store.run(lambda tx: claim(tx, wanted, run, GRACE))
                if not result.locked:
                    said.append(f"claimed {len(result.claimed)}")
                    return

        at_once(skip, work)
        assert sorted(answers) in (["claimed 0", "skipped"], ["claimed 1", "refused"])
        state = one(store, "select state from fires where id = :id", id=fire)
        assert state == ("claimed" if "refused" in answers else "skipped")
    store.close()


def test_a_trigger_and_a_delete_at_once(store: PostgresStore) -> None:
    editor, agent, triggers = Editor(store, RULES), an_agent(store), Triggers(store)
    for _ in rounds(20):
        schedule = a_schedule(store, agent, stopped=True)
        answers: list[str] = []

        def trigger(schedule: Schedule = schedule, said: list[str] = answers) -> None:
            try:
                said.append(triggers.trigger(agent.id, schedule.id))
            except NotFound:
                said.append("gone")

        at_once(trigger, partial(editor.delete, agent.id, schedule.id, {}))
        made = one(store, "select count(*) from fires where schedule_id = :id", id=schedule.id)
        assert made == (answers != ["gone"])
    assert deadlocks(store) == 0
