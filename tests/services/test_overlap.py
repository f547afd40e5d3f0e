"""Overlap on a real ledger: who waits, who is told to stop, and who lets whom go."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.policies import OverlapPolicy, OverlapScope, Policies
from schedules_pipeline.domain.schedule import AcpType, Agent, Schedule
from schedules_pipeline.domain.slices import SliceKind, floor_minute
from schedules_pipeline.services import releasing
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.outcomes import write_outcomes
from schedules_pipeline.services.platform_port import Assignment
from schedules_pipeline.services.releasing import release_waiting
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.services.stored import Outcome
from schedules_pipeline.services.tasks import TaskEnd, Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.ledger import (
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
    see_fire,
)
from tests.services.working import Platform, until, work_alone, work_slice

P = OverlapPolicy


def overlapping(policy: OverlapPolicy, **changes: object) -> Policies:
    return Policies(overlap_policy=policy, **changes)  # type: ignore[arg-type]


def end_of(store: PostgresStore, fire: str) -> tuple[str, str | None]:
    seen = see_fire(store, fire)
    return seen.state, seen.reason


def a_schedule_whose(
    store: PostgresStore, policies: Policies, agent: Agent | None = None
) -> Schedule:
    return a_schedule(store, agent, stopped=True, policies=policies)


def under_way(store: PostgresStore, schedule: Schedule) -> tuple[str, str]:
    """A fire claimed in its time five seconds ago, and the run that works it."""
    key = past_slice(store, minutes_ago=3)
    run = a_dispatch(store, key)
    at = database_now(store) - seconds(5)
    return a_fire(store, schedule, key, at, FireState.TASK_CREATED, run=run), run


def due(store: PostgresStore, schedule: Schedule, key: str, ago: float = 1) -> str:
    return a_fire(store, schedule, key, database_now(store) - seconds(ago))


def end(store: PostgresStore, fire: str, run: str, state: FireState, **outcome: object) -> bool:
    """Write the end of a fire that is under way; whether it was still that run's."""
    schedule_id = one(store, "select schedule_id from fires where id = :id", id=fire)
    written = Outcome(
        fire_id=fire,
        schedule_id=schedule_id,
        state=state,
        attempts=1,
        lets_next_go=True,
        **outcome,  # type: ignore[arg-type]
    )
    return fire in store.run(lambda tx: write_outcomes(tx, [written], run))


def waiting_count(store: PostgresStore) -> int:
    return int(one(store, "select sum(waiting_count) from schedule_clock"))


def tick(store: PostgresStore) -> None:
    Clock(store, RULES, Tasks(store).not_final).tick(lambda _since: [])


# --- waiting in the ledger ------------------------------------------------------------------------


def test_allow_all_lets_a_schedules_fires_go_side_by_side(store: PostgresStore) -> None:
    schedule = a_schedule_whose(store, overlapping(P.ALLOW_ALL))
    key = past_slice(store)
    under_way(store, schedule)
    fires = [due(store, schedule, key, ago) for ago in (2, 1)]
    meeting = asyncio.Event()
    there = []

    async def meet(assignment: Assignment) -> None:
        there.append(assignment.fire_id)
        if len(there) == 2:
            meeting.set()
        await asyncio.wait_for(meeting.wait(), 5)

    work_alone(store, key, Platform(send=meet))
    assert {end_of(store, fire) for fire in fires} == {("delivered", None)}


def test_buffer_one_lets_the_first_wait_and_skips_the_later_ones(store: PostgresStore) -> None:
    schedule = a_schedule_whose(store, overlapping(P.BUFFER_ONE))
    key = past_slice(store)
    under_way(store, schedule)
    first, second = due(store, schedule, key, 2), due(store, schedule, key, 1)
    platform = Platform()
    work_alone(store, key, platform)
    assert platform.sent == []
    assert end_of(store, first) == ("waiting", "overlap")
    assert end_of(store, second) == ("skipped", "overlap")
    assert waiting_count(store) == 1


def test_buffer_all_lets_a_hundred_wait(store: PostgresStore) -> None:
    schedule = a_schedule_whose(store, overlapping(P.BUFFER_ALL))
    key = past_slice(store)
    under_way(store, schedule)
    at = database_now(store) - seconds(2)
    fires = [
        a_fire(store, schedule, key, at + seconds(n / 100), id=f"{schedule.id}-{n:03}")
        for n in range(102)
    ]
    work_alone(store, key, Platform())
    ends = [end_of(store, fire) for fire in fires]
    assert ends[:100] == [("waiting", "overlap")] * 100
    assert ends[100:] == [("skipped", "buffer_full")] * 2


def test_a_run_does_not_stay_up_for_what_waits_and_its_slice_settles_without_it(
    store: PostgresStore, database_url: str
) -> None:
    schedule = a_schedule_whose(store, overlapping(P.BUFFER_ALL))
    key = past_slice(store)
    under_way(store, schedule)
    waits = due(store, schedule, key)
    work_slice(database_url, key)
    assert end_of(store, waits) == ("waiting", "overlap")
    store.run(lambda tx: tx.slices.settle([key]))
    assert one(store, "select settled_at is not null from slices where slice_key = :key", key=key)
    horizon = timedelta(seconds=30)
    owing = store.run(lambda tx: tx.slices.owing(tx.now() + timedelta(minutes=5), horizon))
    assert key not in {each.key for each in owing}


@pytest.mark.parametrize("state", [FireState.DELIVERED, FireState.FAILED])
def test_whoever_ends_the_fire_ahead_lets_the_next_one_go_and_only_that(
    store: PostgresStore, state: FireState
) -> None:
    schedule = a_schedule_whose(store, overlapping(P.BUFFER_ALL))
    key = past_slice(store)
    ahead, run = under_way(store, schedule)
    first, second = due(store, schedule, key, 2), due(store, schedule, key, 1)
    work_alone(store, key, Platform())
    store.run(lambda tx: tx.slices.settle([key]))

    reason = FireReason.TIMEOUT if state is FireState.FAILED else None
    assert end(store, ahead, run, state, reason=reason)

    assert end_of(store, first) == ("planned", None)
    assert end_of(store, second) == ("waiting", "overlap")
    moved = one(store, "select slice_key from fires where id = :id", id=first)
    assert moved == a_slice(store, floor_minute(database_now(store)))
    assert one(store, "select owed_at > due_at from fires where id = :id", id=first)
    assert waiting_count(store) == 1


def test_buffered_fires_are_delivered_one_after_another_in_nominal_order(
    store: PostgresStore,
) -> None:
    schedule = a_schedule_whose(store, overlapping(P.BUFFER_ALL))
    now = a_slice(store, floor_minute(database_now(store)))
    ahead, run = under_way(store, schedule)
    fires = [due(store, schedule, now, ago) for ago in (3, 2, 1)]

    async def end_the_one_ahead(_worker: SliceWorker, _dispatch: Dispatch) -> None:
        await until(lambda: waiting_count(store) == 3)
        assert end(store, ahead, run, FireState.DELIVERED)

    platform = Platform()
    work_alone(store, now, platform, beside=end_the_one_ahead, ends_in=4)
    assert platform.sent == fires
    assert waiting_count(store) == 0


def test_a_tick_lets_go_what_nothing_is_ahead_of_any_more(store: PostgresStore) -> None:
    schedule = a_schedule_whose(store, overlapping(P.BUFFER_ALL))
    key = past_slice(store)
    ahead, _ = under_way(store, schedule)
    waits = due(store, schedule, key)
    work_alone(store, key, Platform())
    tick(store)
    assert end_of(store, waits) == ("waiting", "overlap")
    # Ended by someone who lets nobody go: a person cancelled its run.
    query(
        store,
        """
        update fires set state = 'failed', reason = 'delivery_unknown',
            finished_at = statement_timestamp()
        where id = :id
        """,
        id=ahead,
    )
    tick(store)
    assert end_of(store, waits) == ("planned", None)


def test_a_delete_ends_what_waits_and_its_slice_owes_the_record(store: PostgresStore) -> None:
    schedule = a_schedule_whose(store, overlapping(P.BUFFER_ALL))
    key = past_slice(store)
    under_way(store, schedule)
    waits = due(store, schedule, key)
    work_alone(store, key, Platform())
    store.run(lambda tx: tx.slices.settle([key]))
    Editor(store, RULES).delete(schedule.agent_id, schedule.id, {})
    assert end_of(store, waits) == ("skipped", "deleted")
    assert waiting_count(store) == 0
    assert one(store, "select settled_at is null from slices where slice_key = :key", key=key)


def test_releases_and_deletes_at_once_leave_the_count_right(store: PostgresStore) -> None:
    for _ in range(10):
        schedule = a_schedule_whose(store, overlapping(P.BUFFER_ALL))
        key = past_slice(store)
        ahead, run = under_way(store, schedule)
        fires = [due(store, schedule, key, ago) for ago in (2, 1)]
        query(
            store,
            "update fires set state = 'waiting', reason = 'overlap' where id = any(:ids)",
            ids=fires,
        )
        query(
            store,
            "update schedule_clock set waiting_count = 2 where schedule_id = :id",
            id=schedule.id,
        )
        works: list[Callable[[], object]] = [
            partial(end, store, ahead, run, FireState.DELIVERED),
            partial(Editor(store, RULES).delete, schedule.agent_id, schedule.id, {}),
            partial(release_waiting, store, Tasks(store).not_final),
        ]
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert waiting_count(store) == 0
        states = {end_of(store, fire) for fire in fires}
        assert states <= {("skipped", "deleted"), ("planned", None)}
        query(store, "delete from fires")


# --- told to stop ---------------------------------------------------------------------------------


def test_terminate_other_ends_the_one_ahead_and_tells_its_agent(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    agent = an_agent(store, recorder.url)
    schedule = a_schedule_whose(store, overlapping(P.TERMINATE_OTHER), agent)
    key = past_slice(store)
    ahead, run = under_way(store, schedule)
    fire = due(store, schedule, key)
    work_slice(database_url, key)
    assert end_of(store, ahead) == ("cancelled", "overlap")
    assert end_of(store, fire) == ("delivered", None)
    told = [r for r in recorder.received("task/cancel") if r["agent_id"] == agent.id]
    assert [r["task_id"] for r in told] == [f"task-{ahead}"]
    # Whoever held it writes nothing more of it.
    assert not end(store, ahead, run, FireState.DELIVERED)
    assert end_of(store, ahead) == ("cancelled", "overlap")


@pytest.mark.parametrize(
    ("acp_type", "status"), [(AcpType.ASYNC, "CANCELED"), (AcpType.SYNC, "INTERRUPTED")]
)
def test_a_synchronous_agent_is_interrupted_another_is_told_to_cancel(
    store: PostgresStore, acp_type: AcpType, status: str
) -> None:
    agent = an_agent(store, acp_type=acp_type)
    schedule = a_schedule_whose(store, overlapping(P.TERMINATE_OTHER), agent)
    key = past_slice(store)
    ahead, _ = under_way(store, schedule)
    query(
        store,
        "insert into tasks (id, name, agent_id) select task_id, id, agent_id from fires",
    )
    due(store, schedule, key)
    platform = Platform()
    work_alone(store, key, platform)
    (stop,) = platform.stopped
    assert (stop.task.id, stop.task.status) == (f"task-{ahead}", status)
    assert one(store, "select status from tasks where id = :id", id=f"task-{ahead}") == status


def test_an_agent_that_does_not_hear_it_harms_nobody(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    agent = an_agent(store, recorder.url_for("fail_once"))
    schedule = a_schedule_whose(store, overlapping(P.TERMINATE_OTHER), agent)
    key = past_slice(store)
    under_way(store, schedule)
    fire = due(store, schedule, key)
    work_slice(database_url, key)
    assert end_of(store, fire) == ("delivered", None)


def test_cancel_other_waits_until_the_one_ahead_has_stopped(store: PostgresStore) -> None:
    schedule = a_schedule_whose(store, overlapping(P.CANCEL_OTHER))
    key = past_slice(store)
    ahead, run = under_way(store, schedule)
    fire = due(store, schedule, key)
    platform = Platform()

    async def stop_working(_worker: SliceWorker, _dispatch: Dispatch) -> None:
        await until(lambda: bool(platform.stopped))
        assert end_of(store, fire) == ("planned", None)
        # What it writes next, other than its delivery, is its end.
        assert not end(store, ahead, run, FireState.TASK_CREATED, error="it stopped")

    work_alone(store, key, platform, beside=stop_working)
    assert end_of(store, ahead) == ("cancelled", "overlap")
    assert end_of(store, fire) == ("delivered", None)
    assert len(platform.stopped) == 1


def test_one_that_was_told_to_stop_and_is_delivered_all_the_same_is_delivered(
    store: PostgresStore,
) -> None:
    schedule = a_schedule_whose(store, overlapping(P.CANCEL_OTHER))
    ahead, run = under_way(store, schedule)
    query(store, "update fires set stop_requested_at = statement_timestamp()")
    assert end(store, ahead, run, FireState.DELIVERED)
    assert end_of(store, ahead) == ("delivered", None)


def test_cancel_other_goes_after_thirty_seconds_whatever_the_one_ahead_does(
    store: PostgresStore,
) -> None:
    schedule = a_schedule_whose(store, overlapping(P.CANCEL_OTHER))
    key = past_slice(store)
    ahead, _ = under_way(store, schedule)
    query(
        store,
        "update fires set stop_requested_at = statement_timestamp() - interval '30 seconds'",
    )
    fire = due(store, schedule, key)
    work_alone(store, key, Platform())
    assert end_of(store, ahead) == ("cancelled", "overlap")
    assert end_of(store, fire) == ("delivered", None)


def test_a_take_over_of_one_that_was_told_to_stop_is_its_end(store: PostgresStore) -> None:
    schedule = a_schedule_whose(store, overlapping(P.CANCEL_OTHER))
    key = past_slice(store)
    dead = a_dispatch(store, key, finished=True)
    at = database_now(store) - seconds(1)
    told = a_fire(store, schedule, key, at, FireState.TASK_CREATED, run=dead, stop_requested_at=at)
    platform = Platform()
    work_alone(store, key, platform, run="run-2")
    assert (platform.sent, end_of(store, told)) == ([], ("cancelled", "overlap"))


# --- until the task is final ----------------------------------------------------------------------


def after_a_delivery(
    store: PostgresStore, policy: OverlapPolicy, **changes: object
) -> tuple[Schedule, str]:
    """A schedule that minds tasks, whose last fire was delivered; and that fire's task."""
    policies = overlapping(policy, overlap_scope=OverlapScope.TASK, **changes)
    schedule = a_schedule_whose(store, policies)
    key = past_slice(store, minutes_ago=4)
    fire = due(store, schedule, key, 30)
    work_alone(store, key, Platform(), run=f"run-of-{schedule.id}")
    return schedule, str(see_fire(store, fire).task_id)


@pytest.mark.parametrize(
    ("policy", "end"),
    [
        (P.SKIP, ("skipped", "overlap")),
        (P.ALLOW_ALL, ("delivered", None)),
        (P.BUFFER_ONE, ("waiting", "overlap")),
        (P.BUFFER_ALL, ("waiting", "overlap")),
        (P.TERMINATE_OTHER, ("delivered", None)),
    ],
)
def test_an_open_task_makes_the_agent_busy(
    store: PostgresStore, policy: OverlapPolicy, end: tuple[str, str | None]
) -> None:
    schedule, task = after_a_delivery(store, policy)
    key = past_slice(store)
    fire = due(store, schedule, key)
    platform = Platform(open_tasks=[task])
    work_alone(store, key, platform)
    assert end_of(store, fire) == end
    assert [s.task.id for s in platform.stopped] == ([task] if policy is P.TERMINATE_OTHER else [])


def test_a_final_task_does_not(store: PostgresStore) -> None:
    schedule, _ = after_a_delivery(store, P.SKIP)
    key = past_slice(store)
    fire = due(store, schedule, key)
    work_alone(store, key, Platform())
    assert end_of(store, fire) == ("delivered", None)


def test_a_task_older_than_the_timeout_no_longer_counts(store: PostgresStore) -> None:
    schedule, task = after_a_delivery(store, P.SKIP, overlap_task_timeout_seconds=60)
    query(store, "update fires set claimed_at = claimed_at - interval '61 seconds'")
    key = past_slice(store)
    fire = due(store, schedule, key)
    work_alone(store, key, Platform(open_tasks=[task]))
    assert end_of(store, fire) == ("delivered", None)


def test_a_platform_that_does_not_answer_in_time_stops_nobody(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schedules_pipeline.services.slice_worker.LONGEST_QUESTION_SECONDS", 0.05)
    schedule, _ = after_a_delivery(store, P.SKIP)
    key = past_slice(store)
    fire = due(store, schedule, key)

    class Silent(Platform):
        async def open_tasks(self, task_ids: object) -> list[str]:
            await asyncio.sleep(10)
            return []

    work_alone(store, key, Silent())
    assert end_of(store, fire) == ("delivered", None)


def test_cancel_other_tells_the_tasks_agent_and_goes_when_the_task_is_final(
    store: PostgresStore,
) -> None:
    schedule, task = after_a_delivery(store, P.CANCEL_OTHER)
    key = past_slice(store)
    fire = due(store, schedule, key)
    platform = Platform(open_tasks=[task])

    async def become_final(_worker: SliceWorker, _dispatch: Dispatch) -> None:
        await until(lambda: bool(platform.stopped))
        platform.not_final.clear()

    work_alone(store, key, platform, beside=become_final)
    assert [stop.task.id for stop in platform.stopped] == [task]
    assert end_of(store, fire) == ("delivered", None)


def test_the_tick_lets_go_what_waits_for_a_task_once_it_is_final(store: PostgresStore) -> None:
    schedule, task = after_a_delivery(store, P.BUFFER_ONE)
    key = past_slice(store)
    fire = due(store, schedule, key)
    work_alone(store, key, Platform(open_tasks=[task]))
    tick(store)
    assert end_of(store, fire) == ("waiting", "overlap")
    Tasks(store).move(task, TaskEnd.COMPLETE, None)
    tick(store)
    assert end_of(store, fire) == ("planned", None)


def test_schedules_that_stay_blocked_do_not_hide_one_that_may_go(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "WAITING_PER_TICK", 1)
    blocked = [after_a_delivery(store, P.BUFFER_ONE) for _ in range(3)]
    key = past_slice(store)
    fires = [due(store, schedule, key) for schedule, _ in blocked]
    work_alone(store, key, Platform(open_tasks=[task for _, task in blocked]))
    Tasks(store).move(blocked[-1][1], TaskEnd.COMPLETE, None)
    for _ in range(100):
        release_waiting(store, Tasks(store).not_final)
    assert [end_of(store, fire)[0] for fire in fires] == ["waiting", "waiting", "planned"]


# --- synchronous agents ---------------------------------------------------------------------------


@pytest.mark.parametrize("live", [5, 6])
def test_while_six_runs_wait_for_synchronous_agents_the_newest_takes_on_what_is_due(
    store: PostgresStore, live: int
) -> None:
    now = database_now(store)
    keys = [a_slice(store, now - timedelta(minutes=n + 3), SliceKind.SYNC) for n in range(live)]
    for key in keys:
        a_dispatch(store, key)
    agent = an_agent(store, acp_type=AcpType.SYNC)
    a_schedule(store, agent, every=3_600, clock_at=now)
    query(
        store,
        """
        update schedule_clock set next_nominal_at = date_trunc('second', :now),
            next_due_at = date_trunc('second', :now)
        """,
        now=now + seconds(1),
    )
    query(store, "update agent_run_schedules set interval_seconds = 1, end_at = :end",
          end=now + seconds(1))  # fmt: skip
    tick(store)
    found = {row.slice_key for row in query(store, "select slice_key from fires")}
    own = {a_slice(store, now + seconds(1), SliceKind.SYNC)}
    assert found == ({keys[0]} if live == 6 else own)
