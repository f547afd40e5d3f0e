"""The worker of a slice, against real agents and a real ledger."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise

import pytest

from schedules_pipeline.dev.postgres import EmbeddedPostgres
from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireState, task_id, task_name
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.domain.slices import slice_of
from schedules_pipeline.errors import DispatchEnded, NotFound, TimedOut, Unavailable
from schedules_pipeline.services import dispatch as dispatch_module
from schedules_pipeline.services import slice_worker as worker_module
from schedules_pipeline.services import slots as slots_module
from schedules_pipeline.services.agenda import Agenda
from schedules_pipeline.services.database_time import DatabaseTime
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.fire_delivery import DeliveryRules
from schedules_pipeline.services.platform_port import Assignment
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.services.slots import Slots
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import OpenFire
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.ledger import (
    a_dispatch,
    a_fire,
    a_schedule,
    a_slice,
    an_agent,
    database_now,
    end_dispatch,
    many_fires,
    one,
    past_slice,
    query,
    seconds,
    see_fire,
    states,
)
from tests.services.working import (
    Platform,
    a_dispatcher,
    inputs,
    tasks_made,
    until,
    work_alone,
    work_slice,
)

# --- delivery -------------------------------------------------------------------------------------


def test_an_agent_gets_its_task_and_then_its_input_once_at_the_due_time(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    agent = an_agent(store, recorder.url)
    schedule = a_schedule(
        store,
        agent,
        stopped=True,
        task_params={"depth": 3},
        task_metadata={"team": "x", "fire_time": "a lie"},
        initial_input={"type": "text", "author": "user", "content": "wake up"},
    )
    due = database_now(store).replace(microsecond=0) + seconds(2)
    fire = a_fire(store, schedule, past_slice(store), due)

    work_slice(database_url, past_slice(store))

    (created,) = tasks_made(recorder, [fire])
    (sent,) = inputs(recorder, [fire])
    name = task_name(schedule.id, fire)
    assert created["task_name"] == name
    assert created["task_id"] == sent["task_id"] == task_id(name)
    assert created["task_params"] == {"depth": 3}
    assert created["task_metadata"] == {
        "display_name": schedule.name,
        "team": "x",
        "schedule_id": schedule.id,
        "scheduled_fire_id": fire,
        "trigger_type": "scheduled",
        "fire_time": f"{due:%Y-%m-%dT%H:%M:%SZ}",
        "idempotency_key": fire,
    }
    assert sent["content"] == "wake up"
    assert due.timestamp() <= created["at"] <= sent["at"] < due.timestamp() + 1
    seen = see_fire(store, fire)
    assert (seen.state, seen.attempts, seen.possible_duplicate) == ("delivered", 1, False)
    assert one(store, "select name from tasks where id = :id", id=seen.task_id) == name


def test_a_synchronous_agent_gets_one_message_and_its_answer_is_kept(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    agent = an_agent(store, recorder.url, acp_type=AcpType.SYNC)
    key = past_slice(store)
    schedule = a_schedule(store, agent, stopped=True)
    fire = a_fire(store, schedule, key, database_now(store))
    work_slice(database_url, key)
    assert [r["method"] for r in inputs(recorder, [fire])] == ["message/send"]
    assert tasks_made(recorder, [fire]) == []
    assert see_fire(store, fire).reply_excerpt == "You said: hi"


def test_a_fire_that_joins_late_is_delivered_by_the_run_that_is_up(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    schedule = a_schedule(store, stopped=True)
    platform = Platform()
    joined: list[str] = []

    async def join(_worker: SliceWorker, _dispatch: Dispatch) -> None:
        await asyncio.sleep(0.5)
        joined.append(a_fire(store, schedule, key, database_now(store)))

    work_alone(store, key, platform, ends_in=2.5, beside=join)
    assert platform.sent == joined
    assert see_fire(store, joined[0]).state == "delivered"


def a_minute_worked_by_ear(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, look_again: float, disturb: str
) -> tuple[list[str], list[str]]:
    """A trigger that joins the present minute after `disturb`; returns it, and what was sent."""
    monkeypatch.setattr(worker_module, "LOOK_AGAIN_SECONDS", look_again)
    schedule = a_schedule(store, stopped=True)
    key = a_slice(store, database_now(store))
    platform = Platform()
    joined: list[str] = []

    async def join(worker: SliceWorker, _dispatch: Dispatch) -> None:
        await until(lambda: one(store, f"select count(*) from ({LISTENING}) as l") == 1)
        query(store, disturb)
        fire_id = f"agent-run-schedule:{schedule.id}-manual-x-2026-06-24T09:00:00Z"

        def insert(tx: Transaction) -> None:
            now = tx.now()
            into = slice_of(key)
            tx.slices.open({into}, now)
            tx.fires.insert_manual(fire_id, schedule, now, into)

        store.run(insert)
        joined.append(fire_id)
        await until(lambda: platform.sent == joined)
        worker.stop()

    work_alone(store, key, platform, ends_in=60, beside=join)
    return joined, platform.sent


LISTENING = "select pid from pg_stat_activity where application_name = 'schedules, listening'"


def test_what_joins_a_slice_by_a_persons_write_is_heard_of_and_waits_for_no_look(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined, sent = a_minute_worked_by_ear(store, monkeypatch, 3_600, "select 1")
    assert sent == joined


def test_a_worker_that_can_no_longer_hear_looks_instead(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    deafen = f"select pg_terminate_backend(pid) from ({LISTENING}) as l"
    joined, sent = a_minute_worked_by_ear(store, monkeypatch, 1, deafen)
    assert sent == joined


def test_a_worker_that_waits_leaves_no_connection_behind(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_minute_worked_by_ear(store, monkeypatch, 1, "select 1")
    count = f"select count(*) from ({LISTENING}) as l"
    # The server's process for it may still be ending.
    asyncio.run(until(lambda: one(store, count) == 0))


def test_looking_takes_a_tenth_of_the_time_at_most(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LOOK_AGAIN_SECONDS", 0.01)
    begun: list[float] = []
    read = SliceWorker._read_open

    def read_slowly(worker: SliceWorker) -> object:
        begun.append(time.monotonic())
        time.sleep(0.05)
        return read(worker)

    monkeypatch.setattr(SliceWorker, "_read_open", read_slowly)
    work_alone(store, past_slice(store), Platform(), ends_in=1.5)
    # The first look knows of none before it, and one more is taken when the time is over.
    apart = [later - earlier for earlier, later in pairwise(begun[1:-1])]
    assert apart
    assert min(apart) >= 0.5


def test_working_a_slice_again_sends_nothing(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    fires = many_fires(store, an_agent(store, recorder.url), key, 5)
    with a_dispatcher(database_url, key) as dispatcher:
        dispatcher.dispatch()
        dispatcher.dispatch()
    work_slice(database_url, key, "run-2")
    assert Counter(r["idempotency_key"] for r in inputs(recorder, fires)) == Counter(fires)


def test_a_worker_whose_clock_is_ahead_delivers_nothing_early(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(DatabaseTime):
        def now(self):  # type: ignore[no-untyped-def]
            return super().now() + seconds(0.7)

    # It must come back to it by itself, not because it looks again anyway.
    monkeypatch.setattr(worker_module, "LOOK_AGAIN_SECONDS", 20.0)
    key = past_slice(store)
    schedule = a_schedule(store, stopped=True)
    due = database_now(store) + seconds(1)
    fire = a_fire(store, schedule, key, due)
    sent_at = []

    async def send(_assignment: Assignment) -> None:
        sent_at.append(database_now(store))

    work_alone(store, key, Platform(send=send), clock=Ahead(store))
    assert see_fire(store, fire).state == "delivered"
    assert due <= sent_at[0] < due + seconds(0.5)


def test_a_claim_begins_before_its_due_time_and_its_inputs_go_out_after_it(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CLAIM_LEAD", seconds(0.3))
    began: list[datetime] = []
    really_sleep_until = DatabaseTime.sleep_until

    def sleep_until(clock: DatabaseTime, instant: datetime) -> None:
        began.append(clock.now())
        really_sleep_until(clock, instant)

    monkeypatch.setattr(DatabaseTime, "sleep_until", sleep_until)
    key = past_slice(store)
    due = database_now(store) + seconds(1)
    fires = [a_fire(store, a_schedule(store, stopped=True), key, due) for _ in range(3)]
    sent_at = []

    async def send(_assignment: Assignment) -> None:
        sent_at.append(database_now(store))

    platform = Platform(send=send)
    work_alone(store, key, platform)
    assert sorted(platform.sent) == sorted(fires)
    assert began[0] < due <= min(sent_at)
    claimed_at = query(store, "select min(claimed_at) as first from fires")[0].first
    assert claimed_at >= due


def test_what_is_due_does_not_wait_for_what_is_due_next(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CLAIM_LEAD", seconds(3))
    key = past_slice(store)
    now = database_now(store)
    next_at = now + seconds(2)
    late, _next = (a_fire(store, a_schedule(store, stopped=True), key, at) for at in (now, next_at))
    sent_at: dict[str, datetime] = {}

    async def send(assignment: Assignment) -> None:
        sent_at[assignment.fire_id] = database_now(store)

    work_alone(store, key, Platform(send=send))
    assert sent_at.pop(late) < next_at <= sent_at.popitem()[1]


def test_the_platform_is_told_once_of_each_input_that_is_due_soon(store: PostgresStore) -> None:
    key = past_slice(store)
    agent, other = an_agent(store), an_agent(store)
    many_fires(store, other, key, 2, due_in=-1)
    many_fires(store, agent, key, 3, due_in=0.9)
    many_fires(store, agent, key, 1, due_in=2.6)
    platform = Platform()
    work_alone(store, key, platform)
    # What is due already is claimed at once: there is nothing to prepare.
    assert platform.expected == [(agent.id, 3), (agent.id, 1)]
    assert states(store) == {"delivered": 6}


def test_two_workers_on_one_slice_send_each_input_once(store: PostgresStore) -> None:
    key = past_slice(store)
    agents = [an_agent(store) for _ in range(4)]
    fires = [fire for agent in agents for fire in many_fires(store, agent, key, 150)]
    platforms = [Platform(), Platform()]
    with ThreadPoolExecutor(2) as threads:
        for done in [
            threads.submit(work_alone, store, key, platform, run=f"run-{n}")
            for n, platform in enumerate(platforms)
        ]:
            done.result(60)
    assert Counter(platforms[0].sent + platforms[1].sent) == Counter(fires)
    assert Counter(platforms[0].created + platforms[1].created) == Counter(fires)
    assert states(store) == {"delivered": 600}


def test_a_schedule_that_somebody_holds_delays_itself_and_nobody_else(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    agent = an_agent(store)
    others = many_fires(store, agent, key, 20)
    held = a_schedule(store, agent, stopped=True)
    fire = a_fire(store, held, key, database_now(store))
    seen: list[dict[str, int]] = []

    async def hold(_worker: SliceWorker, _dispatch: Dispatch) -> None:
        await until(lambda: states(store).get("delivered") == 20)
        seen.append(states(store))
        writer.rollback()

    with store.transaction() as writer:
        writer.exec_driver_sql(
            "select 1 from schedule_clock where schedule_id = %s for update", (held.id,)
        )
        work_alone(store, key, platform := Platform(), beside=hold)
    assert seen == [{"delivered": 20, "planned": 1}]
    assert sorted(platform.sent) == sorted([*others, fire])


# --- agents that misbehave ------------------------------------------------------------------------


def test_bad_agents_fail_their_own_fires_after_five_attempts_and_nobody_elses(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    good = many_fires(store, an_agent(store, recorder.url), key, 20)
    bad = {
        mode: many_fires(store, an_agent(store, recorder.url_for(mode)), key, 1)[0]
        for mode in ("error500", "garbage", "hang", "jsonrpc_error", "input-error500")
    }
    refused = many_fires(store, an_agent(store), key, 1)[0]
    began = time.time()

    work_slice(database_url, key)

    found = {mode: see_fire(store, fire) for mode, fire in (bad | {"refused": refused}).items()}
    assert {mode: (f.state, f.reason, f.attempts) for mode, f in found.items()} == {
        "error500": ("failed", "agent_error", 5),
        "garbage": ("failed", "bad_reply", 5),
        "hang": ("failed", "timeout", 5),
        "jsonrpc_error": ("failed", "agent_error", 5),
        "input-error500": ("failed", "agent_error", 5),
        "refused": ("failed", "unreachable", 5),
    }
    assert "HTTP 500" in (found["error500"].error or "")
    assert found["hang"].error == "The agent did not finish within 0.3 s."
    assert "Connection refused" in (found["refused"].error or "")
    assert len(tasks_made(recorder, [bad["error500"]])) == 5
    # The task was made once; it is the input that was tried five times.
    assert len(tasks_made(recorder, [bad["input-error500"]])) == 1
    assert len(inputs(recorder, [bad["input-error500"]])) == 5
    delivered = inputs(recorder, good)
    assert Counter(r["idempotency_key"] for r in delivered) == Counter(good)
    # Before the hung agent had been given up on for the first time.
    assert max(r["at"] for r in delivered) < began + 1.5


def test_the_waits_between_attempts_double(store: PostgresStore, database_url: str) -> None:
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 1)
    began = time.monotonic()
    work_slice(database_url, key, retry_wait_seconds=0.1)
    # 0.1 + 0.2 + 0.4 + 0.8, each within 20 %.
    assert 1.2 <= time.monotonic() - began < 4


def test_an_agent_that_fails_once_is_told_again_and_the_fire_is_delivered(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    (fire,) = many_fires(store, an_agent(store, recorder.url_for("fail_once")), key, 1)
    work_slice(database_url, key)
    assert (len(tasks_made(recorder, [fire])), len(inputs(recorder, [fire]))) == (2, 2)
    seen = see_fire(store, fire)
    # An error reply says that the input was refused: the second is no duplicate.
    assert (seen.state, seen.attempts, seen.error, seen.possible_duplicate) == (
        "delivered",
        3,
        None,
        False,
    )


def test_an_input_that_may_have_been_read_is_sent_again_under_its_key_and_marked(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    (fire,) = many_fires(store, an_agent(store, recorder.url_for("input-hang")), key, 1)
    work_slice(database_url, key, request_timeout_seconds=0.1)
    sent = inputs(recorder, [fire])
    assert len(sent) == 5
    assert len({(r["event_id"], r["task_id"]) for r in sent}) == 1
    seen = see_fire(store, fire)
    assert (seen.state, seen.reason, seen.possible_duplicate) == ("failed", "timeout", True)


def test_a_defect_in_delivery_is_an_internal_error_of_its_fire_alone(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    fires = many_fires(store, an_agent(store), key, 3)

    async def create(assignment: Assignment) -> None:
        if assignment.fire_id == fires[1]:
            raise ZeroDivisionError

    work_alone(store, key, Platform(create))
    assert [see_fire(store, fire).state for fire in fires] == ["delivered", "failed", "delivered"]
    assert see_fire(store, fires[1]).reason == "internal_error"
    assert see_fire(store, fires[1]).error == "ZeroDivisionError; see the run's log"


def test_an_outcome_that_postgres_refuses_takes_nobody_with_it(store: PostgresStore) -> None:
    key = past_slice(store)
    fires = many_fires(store, an_agent(store), key, 30)

    async def send(assignment: Assignment) -> str | None:
        return "a zero byte: \0" if assignment.fire_id == fires[7] else None

    work_alone(store, key, Platform(send=send))
    assert states(store) == {"delivered": 29, "failed": 1}
    assert see_fire(store, fires[7]).reason == "internal_error"


# --- slots and the agenda -------------------------------------------------------------------------


def test_an_agents_requests_in_flight_never_exceed_its_slots_not_even_with_second_attempts(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "PER_AGENT", 4)
    key = past_slice(store)
    fires = many_fires(store, an_agent(store), key, 60)
    in_flight, most, failed = 0, 0, set[str]()

    async def create(assignment: Assignment) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.002)
        in_flight -= 1
        if assignment.fire_id not in failed:
            failed.add(assignment.fire_id)
            raise TimedOut("the first time")

    work_alone(store, key, Platform(create))
    assert failed == set(fires)
    assert states(store) == {"delivered": 60}
    assert most <= 4


def test_the_event_loop_lives_on_while_every_slot_is_taken(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "IN_ALL", 8)
    monkeypatch.setattr(slots_module, "PER_AGENT", 4)
    key = past_slice(store)
    for _ in range(4):
        many_fires(store, an_agent(store), key, 4)
    turns = 0

    async def create(_assignment: Assignment) -> None:
        await asyncio.sleep(1.0)

    async def count_turns(_worker: SliceWorker, _dispatch: Dispatch) -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    steps = 0
    really_take = Agenda.take

    def take(agenda: Agenda, now: datetime, slots: Slots) -> list[OpenFire]:
        nonlocal steps
        steps += 1
        return really_take(agenda, now, slots)

    monkeypatch.setattr(Agenda, "take", take)
    work_alone(store, key, Platform(create), beside=count_turns)
    assert states(store) == {"delivered": 16}
    # 2 s of waiting: a worker that spins leaves the others no turn, or takes a whole core.
    assert turns > 40
    assert steps < 200


def test_one_agents_crowd_does_not_hide_anothers_fires(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LARGEST_AGENDA", 10)
    monkeypatch.setattr(slots_module, "PER_AGENT", 4)
    key = past_slice(store)
    hung = many_fires(store, an_agent(store), key, 40, due_in=-10)
    good = many_fires(store, an_agent(store), key, 3, due_in=-1)
    hanging = asyncio.Event()

    async def create(assignment: Assignment) -> None:
        if assignment.fire_id in hung:
            await hanging.wait()

    async def watch(worker: SliceWorker, _dispatch: Dispatch) -> None:
        await until(lambda: states(store).get("delivered") == 3)
        worker.stop()

    monkeypatch.setattr(worker_module, "LAST_ANSWERS_SECONDS", 0.1)
    work_alone(store, key, Platform(create), beside=watch)
    assert {see_fire(store, fire).state for fire in good} == {"delivered"}
    assert states(store)["claimed"] == 4


def test_fires_of_one_schedule_go_one_after_another_in_nominal_order(
    store: PostgresStore,
) -> None:
    key = past_slice(store)
    schedule = a_schedule(store, stopped=True, cadence=Cadence(interval_seconds=1))
    now = database_now(store)
    fires = [a_fire(store, schedule, key, now - seconds(n)) for n in (1, 3, 2)]
    at_work = 0

    async def send(_assignment: Assignment) -> None:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        await asyncio.sleep(0.02)
        at_work -= 1

    platform = Platform(send=send)
    work_alone(store, key, platform)
    assert platform.sent == [fires[1], fires[2], fires[0]]
    assert states(store) == {"delivered": 3}


# --- the end of a run -----------------------------------------------------------------------------


def test_sigint_stops_claiming_writes_what_came_and_finishes_the_dispatch(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    key = past_slice(store)
    slow = many_fires(store, an_agent(store, recorder.url_for("delay-0.3")), key, 2)
    later = many_fires(store, an_agent(store, recorder.url), key, 2, due_in=4)

    def interrupt() -> None:
        recorder_has_begun = time.monotonic() + 10
        while not tasks_made(recorder, slow) and time.monotonic() < recorder_has_begun:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with (
        pytest.raises(KeyboardInterrupt),
        a_dispatcher(database_url, key, request_timeout_seconds=5) as dispatcher,
    ):
        dispatcher.dispatch()
    thread.join()

    assert {see_fire(store, fire).state for fire in slow} == {"delivered"}
    assert {see_fire(store, fire).state for fire in later} == {"planned"}
    assert one(store, "select finished_at is not null from dispatches")


def test_sigint_ends_a_run_that_waits_for_an_agent_and_another_takes_its_fire_over(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LAST_ANSWERS_SECONDS", 0.1)
    key = past_slice(store)
    (fire,) = many_fires(store, an_agent(store), key, 1)
    hanging = asyncio.Event()

    async def hang(_assignment: Assignment) -> None:
        await hanging.wait()

    async def stop(worker: SliceWorker, _dispatch: Dispatch) -> None:
        await until(lambda: see_fire(store, fire).state == "task_created")
        worker.stop()

    work_alone(store, key, Platform(send=hang), beside=stop)
    assert see_fire(store, fire).state == "task_created"
    second = Platform()
    work_alone(store, key, second, run="run-2")
    assert (second.created, second.sent) == ([], [fire])
    seen = see_fire(store, fire)
    assert (seen.state, seen.claimed_by, seen.possible_duplicate) == ("delivered", "run-2", True)


def test_a_run_that_was_declared_dead_while_it_waited_sends_nothing_more(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a freeze: every proof is old when the process wakes.
    monkeypatch.setattr(dispatch_module, "PROOF_IS_GOOD_FOR_SECONDS", -1.0)
    key = past_slice(store)
    (fire,) = many_fires(store, an_agent(store), key, 1)

    async def lose(_assignment: Assignment) -> None:
        raise TimedOut("no answer", input_written=True)

    async def die_meanwhile(_worker: SliceWorker, dispatch: Dispatch) -> None:
        await until(lambda: see_fire(store, fire).attempts == 1)
        end_dispatch(store, dispatch.dagster_run_id)

    platform = Platform(send=lose)
    with pytest.raises(DispatchEnded):
        work_alone(
            store, key, platform, rules=DeliveryRules(retry_wait_seconds=0.3), beside=die_meanwhile
        )
    assert platform.sent == [fire]
    assert (see_fire(store, fire).state, see_fire(store, fire).attempts) == ("task_created", 1)


def test_a_run_whose_heart_heard_of_its_end_sends_nothing_more_however_fresh_its_proof(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(worker_module, "LOOK_AGAIN_SECONDS", 20.0)
    key = past_slice(store)
    (fire,) = many_fires(store, an_agent(store), key, 1)

    async def lose(_assignment: Assignment) -> None:
        raise TimedOut("no answer", input_written=True)

    async def die_meanwhile(_worker: SliceWorker, dispatch: Dispatch) -> None:
        await until(lambda: see_fire(store, fire).attempts == 1)
        end_dispatch(store, dispatch.dagster_run_id)

    platform = Platform(send=lose)
    with pytest.raises(DispatchEnded):
        work_alone(
            store, key, platform, rules=DeliveryRules(retry_wait_seconds=0.5), beside=die_meanwhile
        )
    assert platform.sent == [fire]


def test_a_run_that_dies_between_task_and_input_sends_no_input(store: PostgresStore) -> None:
    key = past_slice(store)
    (fire,) = many_fires(store, an_agent(store), key, 1)

    async def die(_assignment: Assignment) -> None:
        end_dispatch(store, "run-1")

    platform = Platform(die)
    with pytest.raises(DispatchEnded):
        work_alone(store, key, platform)
    assert (platform.created, platform.sent) == ([fire], [])
    assert see_fire(store, fire).state == "claimed"


def test_a_dead_runs_fires_are_taken_over_where_they_stand(store: PostgresStore) -> None:
    key = past_slice(store)
    agent = an_agent(store)
    dead = a_dispatch(store, key, finished=True)
    (claimed,) = many_fires(store, agent, key, 1, state=FireState.CLAIMED, run=dead)
    (created,) = many_fires(store, agent, key, 1, state=FireState.TASK_CREATED, run=dead)
    query(store, "update fires set attempts = 3")
    before = {fire: see_fire(store, fire) for fire in (claimed, created)}

    platform = Platform()
    work_alone(store, key, platform, run="run-2")

    assert platform.created == [claimed]
    assert sorted(platform.sent) == sorted([claimed, created])
    after = {fire: see_fire(store, fire) for fire in (claimed, created)}
    assert {f: (s.state, s.attempts) for f, s in after.items()} == {
        claimed: ("delivered", 4),
        created: ("delivered", 4),
    }
    assert after[created].task_id == before[created].task_id
    assert not after[claimed].possible_duplicate
    assert after[created].possible_duplicate
    assert one(store, "select sum(fire_count) from schedule_clock") == 0


def test_attempts_go_on_after_a_take_over_instead_of_starting_anew(store: PostgresStore) -> None:
    key = past_slice(store)
    dead = a_dispatch(store, key, finished=True)
    (fire,) = many_fires(store, an_agent(store), key, 1, state=FireState.CLAIMED, run=dead)
    query(store, "update fires set attempts = 4")

    async def lose(_assignment: Assignment) -> None:
        raise TimedOut("no answer")

    platform = Platform(lose)
    work_alone(store, key, platform, run="run-2")
    assert platform.created == [fire]
    assert (see_fire(store, fire).state, see_fire(store, fire).attempts) == ("failed", 5)


def test_a_live_runs_fires_are_left_alone(store: PostgresStore) -> None:
    key = past_slice(store)
    alive = a_dispatch(store, key)
    many_fires(store, an_agent(store), key, 2, state=FireState.CLAIMED, run=alive)
    platform = Platform()
    work_alone(store, key, platform, run="run-2")
    assert platform.created == []
    assert states(store) == {"claimed": 2}


# --- the database goes away -----------------------------------------------------------------------


def test_a_restart_of_the_database_loses_nothing_and_doubles_nothing(
    server: EmbeddedPostgres,
) -> None:
    store = PostgresStore(with_driver(server.url, "psycopg"), pool_size=5)
    key = past_slice(store)
    agent = an_agent(store)
    fires = [many_fires(store, agent, key, 20, due_in=n / 10) for n in range(1, 26)]
    every = [fire for group in fires for fire in group]

    async def send(_assignment: Assignment) -> None:
        await asyncio.sleep(0.01)

    platform = Platform(send=send)
    # The worker in the thread, for the server dies with the thread that started it.
    with ThreadPoolExecutor(1) as thread:
        at_work = thread.submit(work_alone, store, key, platform, ends_in=3)
        time.sleep(1)
        server.stop()
        time.sleep(0.5)
        server.start()
        at_work.result(30)
    assert states(store) == {"delivered": 500}
    assert Counter(platform.sent) == Counter(every)
    store.close()


def test_a_run_that_is_told_to_stop_does_not_wait_for_a_database_that_is_away(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LAST_ANSWERS_SECONDS", 0.3)
    store = PostgresStore(with_driver(server.url, "psycopg"), pool_size=5)
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 1, due_in=60)
    stopped_at = []

    async def stop(worker: SliceWorker, _dispatch: Dispatch) -> None:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(1.2)
        stopped_at.append(time.monotonic())
        worker.stop()

    with pytest.raises(Unavailable):
        work_alone(store, key, Platform(), beside=stop)
    assert time.monotonic() - stopped_at[0] < 5
    store.close()


def test_a_slice_that_does_not_exist_is_refused(store: PostgresStore) -> None:
    with pytest.raises(NotFound, match="no fires are planned"):
        Dispatch(store, "run-1", "2020-01-01T00:00:00Z").begin(by_person=False)
