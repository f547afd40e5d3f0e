"""What an edit's 200 promised, under everything at once: ticks, runs that claim, and more edits.

Nobody waits for anybody on purpose. Afterwards the ledger is read beside the change history: each
claim must have seen the definition that was in force at its moment.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.occurrences import occurrences
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.errors import Busy, Rejected
from schedules_pipeline.services.claiming import claim
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.outcomes import write_outcomes
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import Outcome
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import GRACE, RULES, a_dispatch, a_schedule, an_agent, database_now, query
from tests.store.test_edit_races import patch, pause
from tests.store.test_races import ROUNDS, at_once, deadlocks

SECONDS = 4.0


def test_not_one_fire_violates_what_an_answered_edit_had_promised(store: PostgresStore) -> None:
    agent = an_agent(store)
    schedules = [a_schedule(store, agent, every=1) for _ in range(4)]
    skipped: list[tuple[str, datetime]] = []
    over = threading.Event()
    at_once(
        partial(_edits, store, schedules[:2], 1, skipped, over),
        partial(_edits, store, schedules[2:], 2, skipped, over),
        partial(_until, over, lambda: Planner(store, RULES).plan(lambda: False)),
        partial(_until, over, lambda: Planner(store, RULES).plan(lambda: False)),
        partial(_until, over, partial(_run, store)),
        partial(_until, over, partial(_run, store)),
        partial(_stop_after, SECONDS * ROUNDS, over),
    )
    claimed = query(
        store,
        "select id, schedule_id, schedule_version, claimed_at, trigger_type from fires "
        "where claimed_by is not null",
    )
    in_force = _histories(store)
    for fire in claimed:
        version, paused = in_force[fire.schedule_id](fire.claimed_at)
        assert fire.schedule_version == version, fire
        # A person's trigger goes out while the schedule is paused.
        assert not paused or fire.trigger_type == "manual", fire
    assert len({fire.trigger_type for fire in claimed}) == 2, "there were fires of both kinds"
    _no_skipped_one_was_claimed(store, skipped)
    assert deadlocks(store) == 0


def _until(over: threading.Event, work: Callable[[], object]) -> None:
    while not over.is_set():
        work()


def _stop_after(wait: float, over: threading.Event) -> None:
    time.sleep(wait)
    over.set()


def _edits(
    store: PostgresStore,
    schedules: Sequence[Schedule],
    seed: int,
    skipped: list[tuple[str, datetime]],
    over: threading.Event,
) -> None:
    """Edits without a break; a refusal (it is past, or claimed already) is an answer too."""
    chance, editor = random.Random(seed), Editor(store, RULES)
    try:
        while not over.is_set():
            schedule = chance.choice(schedules)
            try:
                _edit(store, editor, schedule, chance, skipped)
            except (Rejected, Busy):
                continue
    finally:
        over.set()


def _edit(
    store: PostgresStore,
    editor: Editor,
    schedule: Schedule,
    chance: random.Random,
    skipped: list[tuple[str, datetime]],
) -> None:
    what = chance.choice([*["trigger", "what"] * 4, "when", "pause", *["resume"] * 2, "skip"])
    if what == "trigger":
        Triggers(store).trigger(schedule.agent_id, schedule.id)
    elif what == "what":
        patch(editor, schedule, description=str(chance.random()))
    elif what == "when":
        patch(editor, schedule, interval_seconds=chance.choice([1, 2]))
    elif what == "pause":
        pause(editor, schedule)
    elif what == "resume":
        editor.resume(schedule.agent_id, schedule.id, {}, None)
    elif what == "skip":
        # An even second is an occurrence of either cadence.
        even = (t for t in occurrences(schedule.cadence, database_now(store)) if t.second % 2 == 0)
        nominal = next(even)
        editor.skip(schedule.agent_id, schedule.id, nominal, {})
        skipped.append((schedule.id, nominal))


def _run(store: PostgresStore) -> None:
    """A run on each open slice: claims what is due and delivers it."""
    for row in query(store, "select slice_key from slices where settled_at is null"):
        run = a_dispatch(store, row.slice_key)

        def work(tx: Transaction, key: str = row.slice_key, run: str = run) -> None:
            tx.dispatches.require_live(run)
            claimed = claim(tx, tx.claims.open_in(key, run, 1_000), run, GRACE).claimed
            ends = [
                Outcome(
                    fire_id=fire.fire_id,
                    schedule_id=fire.schedule_id,
                    state=state,
                    attempts=1,
                )
                for state in (FireState.TASK_CREATED, FireState.DELIVERED)
                for fire in claimed
            ]
            half = len(ends) // 2
            for part in (ends[:half], ends[half:]):
                if part:
                    write_outcomes(tx, part, run)

        store.run(work)
        store.run(lambda tx, run=run: tx.dispatches.finish(run))  # type: ignore[misc]


InForce = Callable[[datetime], tuple[int, bool]]


def _histories(store: PostgresStore) -> dict[str, InForce]:
    """By schedule: version and paused at an instant, from the change history."""
    changes: dict[str, list[Any]] = {}
    for row in query(store, "select schedule_id, version, at, after "
                            "from schedule_changes order by id"):  # fmt: skip
        changes.setdefault(row.schedule_id, []).append(row)
    ids = query(store, "select id from agent_run_schedules")

    def at(instant: datetime, history: list[Any]) -> tuple[int, bool]:
        before = [row for row in history if row.at < instant]
        if not before:
            return 1, False
        last = before[-1]
        return last.version, last.after["paused"]

    return {row.id: partial(at, history=changes.get(row.id, [])) for row in ids}


def _no_skipped_one_was_claimed(
    store: PostgresStore, skipped: Sequence[tuple[str, datetime]]
) -> None:
    assert skipped, "some were skipped"
    rows = query(store, "select schedule_id, nominal_at from fires where claimed_by is not null")
    assert {(row.schedule_id, row.nominal_at) for row in rows}.isdisjoint(skipped)
