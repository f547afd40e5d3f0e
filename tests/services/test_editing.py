"""Edits win at once: what a PATCH, pause, resume, skip, unskip or delete has answered, holds.

Clocks stand as far from their next occurrence as the test needs, by the interval's phase, so that
no test depends on the second at which it runs.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from threading import Barrier
from typing import Any

import psycopg
import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.occurrences import due_at, occurrences
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.planning import plan_schedule
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.domain.slices import floor_minute, planning_frontier, utc_stamp
from schedules_pipeline.errors import Busy, InvalidCadence, NotFound, Rejected
from schedules_pipeline.services.claiming import ClaimResult, claim
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import Planner, write_plans
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.factories import a_draft
from tests.ledger import (
    GRACE,
    HORIZON,
    INSTANT,
    RULES,
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    one,
    past_slice,
    query,
    seconds,
)

Edit = Callable[[Schedule], None]


@pytest.fixture
def editor(store: PostgresStore) -> Editor:
    return Editor(store, RULES)


def patch(editor: Editor, schedule: Schedule, **given: Any) -> None:
    editor.update(schedule.agent_id, schedule.id, partial(patched, given=given), {})


def pause(editor: Editor, schedule: Schedule) -> None:
    editor.pause(schedule.agent_id, schedule.id, {}, None)


def resume(editor: Editor, schedule: Schedule) -> None:
    editor.resume(schedule.agent_id, schedule.id, {}, None)


def delete(editor: Editor, schedule: Schedule) -> None:
    editor.delete(schedule.agent_id, schedule.id, {})


def skip(editor: Editor, schedule: Schedule, nominal: datetime) -> None:
    editor.skip(schedule.agent_id, schedule.id, nominal, {})


def unskip(editor: Editor, schedule: Schedule, nominal: datetime) -> None:
    editor.unskip(schedule.agent_id, schedule.id, nominal, {})


def skip_and_unskip(editor: Editor, nominal: datetime, schedule: Schedule) -> None:
    skip(editor, schedule, nominal)
    unskip(editor, schedule, nominal)


def plan(store: PostgresStore) -> None:
    Planner(store, RULES).plan(lambda: False)


def next_in(store: PostgresStore, away: int, every: int, **more: Any) -> tuple[Cadence, datetime]:
    """A cadence whose next occurrence is `away` to `away` + 1 seconds ahead, and that one."""
    at = database_now(store).replace(microsecond=0) + seconds(away + 1)
    phase = int(at.timestamp()) % every
    return Cadence(interval_seconds=every, interval_phase_seconds=phase, **more), at


def fires(store: PostgresStore, schedule: Schedule) -> dict[datetime, tuple[str, str | None]]:
    """State and reason by nominal time."""
    rows = query(
        store,
        "select nominal_at, state, reason from fires where schedule_id = :id order by nominal_at",
        id=schedule.id,
    )
    return {row.nominal_at: (row.state, row.reason) for row in rows}


def clock_of(store: PostgresStore, schedule: Schedule) -> datetime | None:
    found: datetime | None = one(
        store, "select next_nominal_at from schedule_clock where schedule_id = :id", id=schedule.id
    )
    return found


def gaps(store: PostgresStore) -> list[tuple[datetime, datetime, str]]:
    rows = query(store, "select from_at, to_at, reason from gaps order by id")
    return [(row.from_at, row.to_at, row.reason) for row in rows]


def take(store: PostgresStore, key: str, run: str) -> ClaimResult:
    """Claim whatever is open in the slice."""
    wanted = store.run(lambda tx: tx.claims.open_in(key, run, 1_000))
    return store.run(lambda tx: claim(tx, wanted, run, GRACE))


def wait_until(store: PostgresStore, at: datetime) -> None:
    time.sleep(max(0.0, (at - database_now(store)).total_seconds()) + 0.01)


PLANNED = ("planned", None)
CHANGED = ("cancelled", "schedule_changed")
SKIPPED = ("skipped", "skipped_by_user")


# --- up to the claim ------------------------------------------------------------------------------


def test_an_edit_within_the_last_second_counts_at_the_claim(
    store: PostgresStore, editor: Editor
) -> None:
    due = database_now(store).replace(microsecond=0) + seconds(1)
    if due - database_now(store) < seconds(1.2):
        due += seconds(1)
    key = a_slice(store, due)
    agent = an_agent(store)
    edited, paused, resumed, skipped, unskipped, deleted, untouched = schedules = [
        a_schedule(store, agent, every=1, stopped=True) for _ in range(7)
    ]
    for schedule in schedules:
        a_fire(store, schedule, key, due)

    new_input = {"type": "text", "author": "user", "content": "new"}
    patch(editor, edited, initial_input=new_input, task_params={"p": 2})
    pause(editor, paused)
    pause(editor, resumed)
    resume(editor, resumed)
    skip(editor, skipped, due)
    skip(editor, unskipped, due)
    unskip(editor, unskipped, due)
    delete(editor, deleted)
    assert database_now(store) < due
    run = a_dispatch(store, key)
    assert take(store, key, run).claimed == []
    wait_until(store, due)
    claimed = {each.schedule_id: each for each in take(store, key, run).claimed}

    assert set(claimed) == {edited.id, resumed.id, unskipped.id, untouched.id}
    assignment = claimed[edited.id].assignment
    assert (assignment.input_content, assignment.task.params) == ("new", {"p": 2})
    version = one(store, "select schedule_version from fires where schedule_id = :id", id=edited.id)
    assert version == 2
    assert fires(store, paused)[due] == ("skipped", "paused")
    assert fires(store, skipped)[due] == SKIPPED
    assert fires(store, deleted)[due] == ("skipped", "deleted")


def test_a_pause_and_a_delete_leave_planned_fires_to_their_claim(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 10)
    for edit in (pause, delete):
        schedule = a_schedule(store, cadence=cadence)
        plan(store)
        before = fires(store, schedule)
        assert before[first] == PLANNED
        edit(editor, schedule)
        assert fires(store, schedule) == before
        assert clock_of(store, schedule) is None
    assert gaps(store) == []


# --- an edit of when ------------------------------------------------------------------------------


def test_an_edit_of_when_is_planned_up_to_the_frontier_at_once(
    store: PostgresStore, editor: Editor
) -> None:
    far, _ = next_in(store, 7_200, 86_400)
    schedule = a_schedule(store, cadence=far)
    cadence, first = next_in(store, 5, 10)
    began = database_now(store)
    patch(editor, schedule, interval_seconds=10,
          interval_phase_seconds=cadence.interval_phase_seconds)  # fmt: skip
    clock = clock_of(store, schedule)
    assert clock is not None
    assert clock >= planning_frontier(began, HORIZON)
    wanted = [at for at in occurrences(cadence, first - INSTANT, clock) if at < clock]
    assert fires(store, schedule) == dict.fromkeys(wanted, PLANNED)
    assert len(wanted) >= 2


def test_what_is_no_longer_an_occurrence_is_cancelled_and_comes_back_with_the_cadence(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 10)
    phase = cadence.interval_phase_seconds
    schedule = a_schedule(store, cadence=cadence)
    plan(store)
    before = fires(store, schedule)
    ids = query(store, "select id, created_at from fires order by id")

    patch(editor, schedule, interval_seconds=20, interval_phase_seconds=first.timestamp() % 20)
    kept = {first + seconds(20 * n) for n in range(10)}
    between = fires(store, schedule)
    assert {at: between[at] for at in before} == {
        at: PLANNED if at in kept else CHANGED for at in before
    }
    assert CHANGED in between.values()

    patch(editor, schedule, interval_seconds=10, interval_phase_seconds=phase)
    again = fires(store, schedule)
    assert {at: again[at] for at in before} == dict.fromkeys(before, PLANNED)
    assert query(store, "select id, created_at from fires order by id")[: len(ids)] == ids
    assert one(store, "select count(*) from fires where finished_at is not null") == 0
    assert gaps(store) == []


def test_a_skipped_one_that_comes_back_is_still_skipped(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 10)
    schedule = a_schedule(store, cadence=cadence)
    skip(editor, schedule, first)
    plan(store)
    assert fires(store, schedule)[first] == SKIPPED
    # Cancelled as one that is no occurrence, then skipped, then an occurrence again.
    unskip(editor, schedule, first)
    patch(editor, schedule, interval_phase_seconds=(cadence.interval_phase_seconds + 5) % 10)
    assert fires(store, schedule)[first] == CHANGED
    with pytest.raises(Rejected, match="not an upcoming"):
        skip(editor, schedule, first)
    store.run(lambda tx: tx.schedules.skip(schedule.id, first))
    patch(editor, schedule, interval_phase_seconds=cadence.interval_phase_seconds)
    assert fires(store, schedule)[first] == SKIPPED


def test_an_edit_of_jitter_moves_what_is_planned_to_its_new_slice_and_back(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 7_200)
    schedule = a_schedule(store, cadence=cadence)
    plan(store)
    for jitter in (7_000, 0):
        patch(editor, schedule, jitter_seconds=jitter)
        jittered = Cadence(
            interval_seconds=7_200,
            interval_phase_seconds=cadence.interval_phase_seconds,
            jitter_seconds=jitter,
        )
        due = due_at(jittered, schedule.id, first)
        (row,) = query(store, "select * from fires")
        assert (row.nominal_at, row.due_at, row.owed_at) == (first, due, due)
        assert (row.state, row.slice_key) == ("planned", utc_stamp(floor_minute(due)))
        shown = Schedules(store, RULES).get(schedule.agent_id, schedule.id).live
        assert shown is not None
        assert shown.next_times[:2] == (first, first + seconds(7_200))
    assert gaps(store) == []


def test_what_is_due_or_claimed_is_finished_whatever_the_cadence_becomes(
    store: PostgresStore, editor: Editor
) -> None:
    now = database_now(store).replace(microsecond=0)
    key = past_slice(store)
    run = a_dispatch(store, key)
    schedule = a_schedule(store, every=7, stopped=True)
    late, claimed = now - seconds(3), now - seconds(10)
    a_fire(store, schedule, key, late)
    a_fire(store, schedule, key, claimed, FireState.CLAIMED, run=run)
    patch(editor, schedule, cron_expression="0 0 1 1 *")
    assert fires(store, schedule) == {late: PLANNED, claimed: ("claimed", None)}


@pytest.mark.parametrize("operation", ["paused", "deleted", "schedule_changed"])
@pytest.mark.parametrize("behind", [30, 100_000])
def test_a_clock_that_is_behind_leaves_one_gap_and_nothing_is_replayed(
    store: PostgresStore, editor: Editor, operation: str, behind: float
) -> None:
    began = database_now(store)
    schedule = a_schedule(store, every=5, clock_at=began - seconds(behind))
    stood_at = clock_of(store, schedule)
    edits: dict[str, Edit] = {
        "paused": partial(pause, editor),
        "deleted": partial(delete, editor),
        "schedule_changed": lambda schedule: patch(editor, schedule, interval_seconds=10),
    }
    edits[operation](schedule)
    ((from_at, to_at, reason),) = gaps(store)
    assert (from_at, reason) == (stood_at, operation)
    assert began <= to_at <= database_now(store)
    if operation == "paused":
        resume(editor, schedule)
    plan(store)
    assert len(gaps(store)) == 1
    assert all(at > to_at for at in fires(store, schedule))
    assert bool(fires(store, schedule)) == (operation != "deleted")


def test_a_pause_is_no_gap_and_is_not_made_up(store: PostgresStore, editor: Editor) -> None:
    schedule = a_schedule(store, every=1)
    pause(editor, schedule)
    time.sleep(1.1)
    plan(store)
    assert fires(store, schedule) == {}
    before = database_now(store)
    resume(editor, schedule)
    assert min(fires(store, schedule)) > before
    began = len(gaps(store))
    # Again: nothing to resume, nothing to move.
    resume(editor, schedule)
    assert len(gaps(store)) == began


def test_the_cadence_of_a_paused_schedule_counts_when_it_is_resumed(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 10)
    schedule = a_schedule(store, cadence=cadence)
    plan(store)
    pause(editor, schedule)
    patch(editor, schedule, interval_phase_seconds=(cadence.interval_phase_seconds + 5) % 10)
    assert clock_of(store, schedule) is None
    resume(editor, schedule)
    now = fires(store, schedule)
    assert now[first] == CHANGED
    assert now[first + seconds(5)] == PLANNED


def test_a_jittered_clock_that_is_edited_again_and_again_leaves_gaps_that_never_overlap(
    store: PostgresStore, editor: Editor
) -> None:
    """Its nominal time is past and its due time ahead: each edit finds it at the same instant."""
    day = 86_400
    nominal = database_now(store).replace(microsecond=0) - seconds(10)
    cadence = Cadence(
        interval_seconds=day,
        interval_phase_seconds=int(nominal.timestamp()) % day,
        jitter_seconds=day,
    )
    # Its jitter is a matter of its id; of ten, one is later than 5 minutes.
    schedules = [a_schedule(store, cadence=cadence, stopped=True) for _ in range(10)]
    schedule = max(schedules, key=lambda s: due_at(cadence, s.id, nominal))
    due = due_at(cadence, schedule.id, nominal)
    assert due > nominal + seconds(300)
    query(store, "update schedule_clock set next_nominal_at = :n, next_due_at = :d "
                 "where schedule_id = :id", n=nominal, d=due, id=schedule.id)  # fmt: skip
    for _ in range(3):
        pause(editor, schedule)
        resume(editor, schedule)
        assert clock_of(store, schedule) == nominal
    found = gaps(store)
    assert (len(found), found[0][0]) == (3, nominal)
    assert {reason for _, _, reason in found} == {"paused"}
    # One begins where the last one ended: each occurrence is in one of them.
    assert [from_at for from_at, _, _ in found[1:]] == [to_at for _, to_at, _ in found[:-1]]
    assert found[-1][1] <= database_now(store)
    # A tick after an outage writes its gap from there, too.
    query(store, "update schedule_clock set next_due_at = next_nominal_at "
                 "where schedule_id = :id", id=schedule.id)  # fmt: skip
    plan(store)
    after = gaps(store)
    assert after[:3] == found
    assert all(from_at >= found[-1][1] for from_at, _, _ in after[3:])


def test_a_tick_that_read_before_an_edit_writes_nothing_after_it(
    store: PostgresStore, editor: Editor
) -> None:
    far = database_now(store).replace(microsecond=0) + seconds(3_600)
    edits: list[Edit] = [
        lambda s: patch(editor, s, interval_seconds=7_200),
        lambda s: patch(editor, s, task_params={"p": 1}),
        partial(pause, editor),
        partial(delete, editor),
        lambda s: skip(editor, s, far),
        partial(skip_and_unskip, editor, far),
    ]
    for edit in edits:
        schedule = a_schedule(store, every=1)
        now = database_now(store)
        reading = store.run(lambda tx, of=schedule.id: tx.clocks.read(of))  # type: ignore[misc]
        assert reading is not None
        frontier = planning_frontier(now, HORIZON)
        stale = plan_schedule(reading, now=now, frontier=frontier, grace=GRACE, limit=500)
        edit(schedule)
        before = (fires(store, schedule), clock_of(store, schedule))
        assert store.run(lambda tx, plans=[stale], at=now: write_plans(tx, plans, at)) == 0  # type: ignore[misc]
        assert (fires(store, schedule), clock_of(store, schedule)) == before


def test_an_edit_that_makes_no_sense_changes_nothing(store: PostgresStore, editor: Editor) -> None:
    schedule = a_schedule(store)
    plan(store)
    before = (fires(store, schedule), clock_of(store, schedule))
    with pytest.raises(InvalidCadence):
        patch(editor, schedule, cron_expression="nonsense", name="new")
    with pytest.raises(NotFound):
        editor.pause("somebody-else", schedule.id, {}, None)
    assert (fires(store, schedule), clock_of(store, schedule)) == before
    assert one(store, "select version from agent_run_schedules") == 1
    assert one(store, "select count(*) from schedule_changes") == 0


# --- skips ----------------------------------------------------------------------------------------


def skips(store: PostgresStore, schedule: Schedule) -> Sequence[datetime]:
    return sorted(store.run(lambda tx: tx.schedules.skips(schedule.id)))


def test_a_skip_works_once_or_twice_at_any_offset_and_survives_every_edit(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 10)
    schedule = a_schedule(store, cadence=cadence)
    plan(store)
    far = first + timedelta(days=400)
    kolkata = timezone(timedelta(hours=5, minutes=30))
    for nominal in (first, first.astimezone(kolkata), far.astimezone(kolkata), far):
        skip(editor, schedule, nominal)
    assert skips(store, schedule) == [first, far]
    patch(editor, schedule, task_params={"p": 1}, jitter_seconds=2)
    patch(editor, schedule, interval_seconds=5,
          interval_phase_seconds=cadence.interval_phase_seconds % 5)  # fmt: skip
    pause(editor, schedule)
    resume(editor, schedule)
    assert skips(store, schedule) == [first, far]
    assert fires(store, schedule)[first] == SKIPPED
    assert fires(store, schedule)[first + seconds(5)] == PLANNED


def test_an_unskip_brings_a_planned_fire_back_and_moves_no_other(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 10)
    schedule = a_schedule(store, cadence=cadence)
    plan(store)
    before, clock = fires(store, schedule), clock_of(store, schedule)
    assert clock is not None
    skip(editor, schedule, first)
    unskip(editor, schedule, first)
    # A new minute may have come before the frontier meanwhile.
    after = fires(store, schedule)
    assert {at: after[at] for at in before} == before
    assert skips(store, schedule) == []
    with pytest.raises(Rejected, match="Cannot unskip a time that is not currently skipped"):
        unskip(editor, schedule, first)


def test_the_last_occurrence_can_be_skipped_and_unskipped(
    store: PostgresStore, editor: Editor
) -> None:
    at = database_now(store).replace(microsecond=0) + seconds(6)
    schedule = a_schedule(store, cadence=Cadence(fire_at=at))
    plan(store)
    assert clock_of(store, schedule) is None
    skip(editor, schedule, at)
    assert fires(store, schedule) == {at: SKIPPED}
    unskip(editor, schedule, at)
    assert fires(store, schedule) == {at: PLANNED}


def test_what_was_unskipped_during_a_pause_is_delivered_after_it(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 5, 10)
    schedule = a_schedule(store, cadence=cadence)
    plan(store)
    skip(editor, schedule, first)
    pause(editor, schedule)
    unskip(editor, schedule, first)
    assert clock_of(store, schedule) is None
    resume(editor, schedule)
    assert fires(store, schedule)[first] == PLANNED


def test_a_skip_of_what_is_no_occurrence_names_the_nearest_ones(
    store: PostgresStore, editor: Editor
) -> None:
    cadence, first = next_in(store, 100, 1_000)
    schedule = a_schedule(store, cadence=cadence)
    for wrong, named in (
        (first + seconds(1), f"{utc_stamp(first)} and {utc_stamp(first + seconds(1_000))}"),
        (first - seconds(1), utc_stamp(first)),
        (first + seconds(0.5), utc_stamp(first)),
    ):
        with pytest.raises(Rejected, match="not an upcoming schedule action") as refused:
            skip(editor, schedule, wrong)
        assert f"{named}" in str(refused.value)
    for verb, edit in (("skip", skip), ("unskip", unskip)):
        with pytest.raises(Rejected, match=f"Cannot {verb} a past scheduled time"):
            edit(editor, schedule, first - seconds(1_000))
    assert skips(store, schedule) == []
    ended = a_schedule(store, cadence=Cadence(fire_at=first - seconds(1_000)), stopped=True)
    with pytest.raises(Rejected, match="none is coming"):
        skip(editor, ended, first + seconds(5))


def test_what_has_been_started_can_no_longer_be_skipped(
    store: PostgresStore, editor: Editor
) -> None:
    """Jittered, and due by another definition: its due time is ahead, and yet it is claimed."""
    cadence, first = next_in(store, 5, 10)
    schedule = a_schedule(store, cadence=cadence, stopped=True)
    key = past_slice(store)
    run = a_dispatch(store, key)
    a_fire(store, schedule, key, first, FireState.CLAIMED, run=run)
    with pytest.raises(Rejected, match="started already"):
        skip(editor, schedule, first)
    assert skips(store, schedule) == []


def test_a_jittered_fire_can_be_skipped_until_its_due_time(
    store: PostgresStore, editor: Editor
) -> None:
    now = database_now(store).replace(microsecond=0)
    phase = int((now - seconds(2)).timestamp()) % 86_400
    cadence = Cadence(interval_seconds=86_400, interval_phase_seconds=phase, jitter_seconds=86_400)
    schedule = a_schedule(store, cadence=cadence, stopped=True)
    nominal = now - seconds(2)
    due = due_at(cadence, schedule.id, nominal)
    assert due > database_now(store) + seconds(1), "a jitter of less than 3 s in a day"
    a_fire(store, schedule, a_slice(store, due), nominal, due_at=due, owed_at=due)
    skip(editor, schedule, nominal)
    assert fires(store, schedule)[nominal] == SKIPPED
    unskip(editor, schedule, nominal)
    # Due after the frontier: the clock comes to it again.
    assert clock_of(store, schedule) == nominal


# --- history, names, rivals -----------------------------------------------------------------------


def test_the_history_says_who_did_what_and_why(store: PostgresStore, editor: Editor) -> None:
    agent = an_agent(store)
    cadence, first = next_in(store, 100, 1_000)
    made = Schedules(store, RULES).create(agent.id, a_draft(cadence=cadence), {"user_id": "anna"})
    key = agent.id, made.schedule.id
    ben = {"user_id": "ben"}
    editor.pause(*key, ben, "holidays")
    editor.resume(*key, ben, "back")
    editor.skip(*key, first, ben)
    editor.unskip(*key, first, ben)
    editor.update(*key, partial(patched, given={"name": "renamed"}), ben)
    editor.delete(*key, ben)
    rows = query(store, "select * from schedule_changes order by id")
    assert [(row.operation, row.version, row.note) for row in rows] == [
        ("create", 1, None),
        ("pause", 2, "holidays"),
        ("resume", 3, "back"),
        ("skip", 4, utc_stamp(first)),
        ("unskip", 5, utc_stamp(first)),
        ("update", 6, None),
        ("delete", 7, None),
    ]
    assert [row.actor["user_id"] for row in rows] == ["anna"] + ["ben"] * 6
    assert [row.before is None for row in rows] == [True] + [False] * 6
    assert all(row.tzdata_version for row in rows)
    update = rows[5]
    assert (update.before["name"], update.after["name"]) == ("hourly", "renamed")
    assert (rows[1].before["paused"], rows[1].after["paused"]) == (False, True)


def test_of_two_who_want_one_name_one_gets_it(store: PostgresStore, editor: Editor) -> None:
    agent = an_agent(store)
    rivals = [a_schedule(store, agent) for _ in range(8)]
    together = Barrier(8)

    def rename(schedule: Schedule) -> str:
        together.wait()
        try:
            patch(editor, schedule, name="wanted", task_params={"p": 1})
        except Rejected as refused:
            assert str(refused) == (  # noqa: PT017 - raised in a thread
                f"Run schedule 'wanted' already exists for agent '{agent.id}'"
            )
            return "refused"
        return "renamed"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(rename, rivals)) == ["refused"] * 7 + ["renamed"]
    assert one(store, "select count(*) from agent_run_schedules where version = 2") == 1
    assert one(store, "select count(*) from agent_run_schedules where task_params is null") == 7


def test_the_name_of_a_deleted_schedule_is_free(store: PostgresStore, editor: Editor) -> None:
    agent = an_agent(store)
    first, second = a_schedule(store, agent, name="daily"), a_schedule(store, agent)
    with pytest.raises(Rejected):
        patch(editor, second, name="daily")
    delete(editor, first)
    patch(editor, second, name="daily")
    assert editor.find(agent.id, "daily") == second.id


def test_delete_stops_the_clock_and_leaves_nothing_to_edit(
    store: PostgresStore, editor: Editor
) -> None:
    schedule = a_schedule(store)
    plan(store)
    delete(editor, schedule)
    assert one(store, "select next_due_at from schedule_clock") is None
    assert set(fires(store, schedule).values()) == {PLANNED}
    nominal = min(fires(store, schedule))
    for edit in (delete, pause, resume, patch):
        with pytest.raises(NotFound):
            edit(editor, schedule)
    with pytest.raises(NotFound):
        skip(editor, schedule, nominal)
    with pytest.raises(NotFound):
        Schedules(store, RULES).get(schedule.agent_id, schedule.id)


def test_of_ten_who_delete_it_one_does(store: PostgresStore, editor: Editor) -> None:
    schedule = a_schedule(store)
    together = Barrier(10)

    def try_to_delete(_: int) -> str:
        together.wait()
        try:
            delete(editor, schedule)
        except NotFound:
            return "gone"
        return "deleted"

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(try_to_delete, range(10))) == ["deleted"] + ["gone"] * 9
    assert one(store, "select count(*) from schedule_changes") == 1


def test_an_edit_waits_for_the_clocks_row_three_seconds_at_most(
    store: PostgresStore, editor: Editor, database_url: str
) -> None:
    schedule = a_schedule(store)
    with psycopg.connect(database_url) as other:
        other.execute("select 1 from schedule_clock for update")
        with pytest.raises(Busy):
            pause(editor, schedule)
    delete(editor, schedule)


def test_of_a_queue_of_edits_each_gives_up_three_seconds_after_it_was_asked_for(
    store: PostgresStore, editor: Editor, database_url: str
) -> None:
    """Not three seconds for each one before it."""
    schedule = a_schedule(store)
    waited: list[float] = []

    def give_up(number: int) -> None:
        time.sleep(number * 0.25)
        asked_at = time.monotonic()
        with pytest.raises(Busy, match=r"^Another request is changing the same schedule; try"):
            pause(editor, schedule)
        waited.append(time.monotonic() - asked_at)

    with psycopg.connect(database_url) as other, ThreadPoolExecutor(4) as pool:
        other.execute("select 1 from schedule_clock for update")
        list(pool.map(give_up, range(4)))
    # In a queue that counts for each lock, the second would have waited almost 6 s.
    assert max(waited) < 4.5
    delete(editor, schedule)
