"""Fires of creators who may, may no longer, or cannot be asked about: all real but the clock."""

import asyncio
from collections.abc import Callable, Collection
from hashlib import sha256

import pytest
from sqlalchemy import event

from schedules_pipeline.access.fire_keys import KeyHoldersMay
from schedules_pipeline.access.fire_provider import ProviderSays
from schedules_pipeline.delivery.acp import Timeouts
from schedules_pipeline.delivery.fire_provider import FireProviderClient, Patience
from schedules_pipeline.delivery.local import LocalPlatform
from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.domain.policies import OverlapPolicy, Policies
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import PermissionDenied, Unavailable
from schedules_pipeline.services.access_port import FireAccess, Operation, Resource
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.fire_delivery import DeliveryRules
from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.services.slice_worker import SliceWorker
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.settings import Auth
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.agents import RunningAgent
from tests.fire_provider import HANG, a_provider
from tests.ledger import (
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    many_fires,
    one,
    past_slice,
    query,
    seconds,
    see_fire,
    states,
)
from tests.services.working import Platform, inputs, tasks_made, until, work_alone, work_slice

CI = {"principal_type": "api_key", "user_id": "ci"}
ANN = {"principal_type": "user", "user_id": "ann"}
AGENT, TASK = Resource.agent("a-1"), Resource.task("t-1")


def a_principal(store: PostgresStore, name: str = "ci", role: Role = Role.EDITOR) -> None:
    """With one key, of the same name."""

    def make(tx: Transaction) -> None:
        tx.principals.create(name, role)
        tx.principals.add_key(name, name, sha256(name.encode()).hexdigest(), None)

    store.run(make)


def by_keys(store: PostgresStore) -> KeyHoldersMay:
    return KeyHoldersMay(lambda names: store.run(lambda tx: tx.principals.may_fire(names)))


def local(store: PostgresStore) -> LocalPlatform:
    return LocalPlatform(Timeouts(connect=0.5, request=1), Tasks(store))


def ask(access: FireAccess, creator: JsonObject) -> str | None:
    """The words of a denial; None: it may."""

    async def run() -> str | None:
        try:
            await access.check(creator, AGENT, Operation.EXECUTE)
        except PermissionDenied as error:
            return str(error)
        finally:
            await access.aclose()
        return None

    return asyncio.run(run())


# --- creators with keys of ours -------------------------------------------------------------------


def revoke_key(tx: Transaction) -> None:
    tx.principals.revoke_key("ci")


def revoke_principal(tx: Transaction) -> None:
    tx.principals.revoke("ci")


@pytest.mark.parametrize("revoke", [revoke_key, revoke_principal])
def test_a_revoked_creators_schedule_stops_at_its_next_occurrence(
    store: PostgresStore, recorder: RunningAgent, revoke: Callable[[Transaction], None]
) -> None:
    a_principal(store)
    schedule = a_schedule(store, an_agent(store, recorder.url), stopped=True, creator_principal=CI)
    key, now = past_slice(store), database_now(store)
    before, after = (a_fire(store, schedule, key, now + seconds(at)) for at in (-1, 1))

    async def revoked_meanwhile(worker: SliceWorker, dispatch: Dispatch) -> None:
        await until(lambda: see_fire(store, before).state == "delivered")
        await asyncio.to_thread(store.run, revoke)

    work_alone(store, key, local(store), ends_in=2, access=by_keys(store), beside=revoked_meanwhile)
    assert see_fire(store, before).state == "delivered"
    end = see_fire(store, after)
    assert (end.state, end.reason, end.attempts) == ("skipped", "permission_denied", 1)
    assert end.error == (
        f"The schedule's creator, principal 'ci', may not execute agent {schedule.agent_id}: it "
        "is revoked, is neither editor nor admin, or has no key that is still valid. Make it a "
        "key (`schedules keys create`), or hand its schedules over (`schedules keys adopt "
        "--principal NAME --from ci`)."
    )
    assert len(inputs(recorder, [before])) == 1
    assert not tasks_made(recorder, [after])
    # No task is left that looks as if somebody worked on it.
    task = one(
        store, "select status || ': ' || status_reason from tasks where id = :id", id=end.task_id
    )
    assert task == "CANCELED: The schedule's creator may not start it"


@pytest.mark.parametrize(
    ("creator", "words"),
    [
        (
            {},
            "The schedule has no creator: it was made while SCHEDULES_AUTH was 'none'. `schedules "
            "keys adopt --principal NAME` makes a principal the creator of all such schedules.",
        ),
        (
            ANN,
            "The schedule's creator holds no key: it was made under another SCHEDULES_AUTH. Make "
            "the schedule anew with a key.",
        ),
        (CI, None),
        (CI | {"user_id": "viewer"}, "principal 'viewer', may not execute agent a-1: "),
        (CI | {"user_id": "nobody"}, "principal 'nobody', may not execute agent a-1: "),
    ],
)
def test_only_editors_with_a_key_may(
    store: PostgresStore, creator: JsonObject, words: str | None
) -> None:
    a_principal(store)
    a_principal(store, "viewer", Role.VIEWER)
    said = ask(by_keys(store), creator)
    assert (said is None) if words is None else (words in str(said))


def test_a_crowd_that_asks_at_once_is_one_statement_and_a_later_one_asks_anew(
    store: PostgresStore,
) -> None:
    for name in ("ci", "cd"):
        a_principal(store, name)
    asked: list[Collection[str]] = []

    def may_fire(names: Collection[str]) -> Collection[str]:
        asked.append(names)
        return store.run(lambda tx: tx.principals.may_fire(names))

    async def run() -> None:
        access = KeyHoldersMay(may_fire)
        creators = [CI | {"user_id": name} for name in ("ci", "cd") * 100]
        await asyncio.gather(*(access.check(c, AGENT, Operation.EXECUTE) for c in creators))
        assert asked == [{"ci", "cd"}]
        await asyncio.to_thread(store.run, revoke_key)
        with pytest.raises(PermissionDenied):
            await access.check(CI, AGENT, Operation.EXECUTE)
        await access.register(CI, TASK, AGENT)
        await access.aclose()

    asyncio.run(run())
    assert asked[1:] == [{"ci"}]


def test_a_question_waits_for_a_database_that_is_away() -> None:
    answers: list[set[str] | Exception] = [Unavailable("away"), {"ci"}]

    def may_fire(names: Collection[str]) -> Collection[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert ask(KeyHoldersMay(may_fire), CI) is None
    assert answers == []


def test_a_rehearsal_for_a_database_that_is_away_fails_nothing() -> None:
    def away(_names: Collection[str]) -> Collection[str]:
        raise Unavailable("away")

    asyncio.run(KeyHoldersMay(away).rehearse())


def test_a_hundred_fires_are_asked_about_in_a_few_statements(store: PostgresStore) -> None:
    a_principal(store)
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 100, creator_principal=CI)
    with store.transaction() as connection:
        engine = connection.engine
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    work_alone(store, key, Platform(), access=by_keys(store))
    assert states(store) == {"delivered": 100}
    # For a rehearsal, and for each of the three steps of what is claimed and committed together.
    questions = [s for s in statements if "from principals" in s]
    assert 4 <= len(questions) <= 30


def test_where_nobody_is_asked_there_is_no_statement_for_it(store: PostgresStore) -> None:
    key = past_slice(store)
    many_fires(store, an_agent(store), key, 2, creator_principal=CI)
    with store.transaction() as connection:
        engine = connection.engine
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    work_alone(store, key, Platform())
    assert states(store) == {"delivered": 2}
    assert not [s for s in statements if "principals" in s]


@pytest.mark.parametrize("trigger_type", ["manual", "backfill"])
def test_what_a_person_asked_for_needs_its_creators_permission_too(
    store: PostgresStore, trigger_type: str
) -> None:
    schedule = a_schedule(store, stopped=True, creator_principal=CI)
    key = past_slice(store)
    fire = a_fire(store, schedule, key, database_now(store), trigger_type=trigger_type)
    platform = Platform()
    work_alone(store, key, platform, access=by_keys(store))
    assert see_fire(store, fire).reason == "permission_denied"
    assert platform.created == []


def test_a_redrive_needs_its_creators_permission_too(store: PostgresStore) -> None:
    schedule = a_schedule(store, stopped=True, creator_principal=CI)
    fire = a_fire(store, schedule, past_slice(store), database_now(store), FireState.FAILED)
    Triggers(store).redrive(fire)
    key = one(store, "select slice_key from fires where id = :id", id=fire)
    work_alone(store, key, Platform(), access=by_keys(store))
    assert see_fire(store, fire).reason == "permission_denied"


def test_denials_are_no_failures_in_a_row(store: PostgresStore) -> None:
    policies = Policies(pause_after_failures=2)
    schedule = a_schedule(store, stopped=True, creator_principal=CI, policies=policies)
    key, now = past_slice(store), database_now(store)
    for ago in (3, 2, 1):
        a_fire(store, schedule, key, now - seconds(ago))
    work_alone(store, key, Platform(), access=by_keys(store))
    assert states(store) == {"skipped": 3}
    (row,) = query(
        store,
        """
        select s.paused, c.consecutive_failures
        from agent_run_schedules s join schedule_clock c on c.schedule_id = s.id
        """,
    )
    assert (row.paused, row.consecutive_failures) == (False, 0)


def test_a_denied_fire_lets_the_next_go_that_waits_for_it(store: PostgresStore) -> None:
    policies = Policies(overlap_policy=OverlapPolicy.BUFFER_ONE)
    schedule = a_schedule(store, stopped=True, creator_principal=CI, policies=policies)
    ahead_key, key, now = past_slice(store, minutes_ago=3), past_slice(store), database_now(store)
    run = a_dispatch(store, ahead_key)
    ahead = a_fire(store, schedule, ahead_key, now - seconds(5), FireState.CLAIMED, run=run)
    waits = a_fire(store, schedule, key, now - seconds(1))
    work_alone(store, key, Platform())
    assert see_fire(store, waits).state == "waiting"
    query(store, "update dispatches set finished_at = now() where dagster_run_id = :run", run=run)
    work_alone(store, ahead_key, Platform(), run="run-2", access=by_keys(store))
    assert see_fire(store, ahead).reason == "permission_denied"
    assert see_fire(store, waits).state == "planned"


# --- creators that a provider knows ---------------------------------------------------------------


def by_provider(url: str, answer: float = 0.5) -> ProviderSays:
    return ProviderSays(FireProviderClient(url, Patience(answer=answer)))


def test_a_provider_that_denies_the_task_leaves_it_without_input_and_known(
    store: PostgresStore, recorder: RunningAgent
) -> None:
    agent = an_agent(store, recorder.url)
    schedule = a_schedule(store, agent, stopped=True, creator_principal=ANN)
    key = past_slice(store)
    fire = a_fire(store, schedule, key, database_now(store))
    with a_provider(answers={"update": (403, b'{"detail": "ann left"}')}) as provider:
        work_alone(store, key, local(store), access=by_provider(provider.url))
        end = see_fire(store, fire)
        assert provider.said() == [
            f"check agent {agent.id} execute",
            "check task * create",
            f"register task {end.task_id}",
            f"grant task {end.task_id} create",
            f"check task {end.task_id} update",
        ]
    assert (end.state, end.reason) == ("skipped", "permission_denied")
    assert end.error == (
        f"The schedule's creator may not update task {end.task_id}, by the authorization "
        "provider: ann left"
    )
    assert len(tasks_made(recorder, [fire])) == 1
    assert not inputs(recorder, [fire])


def test_a_provider_without_an_answer_is_asked_again_and_then_the_fire_goes_out_once(
    store: PostgresStore, recorder: RunningAgent
) -> None:
    agent = an_agent(store, recorder.url)
    schedule = a_schedule(store, agent, stopped=True, creator_principal=ANN)
    key = past_slice(store)
    fire = a_fire(store, schedule, key, database_now(store))
    with a_provider(answers={"grant": (500, b"oops")}) as provider:

        async def mend(worker: SliceWorker, dispatch: Dispatch) -> None:
            await until(lambda: see_fire(store, fire).attempts >= 1)
            assert see_fire(store, fire).state == "claimed"
            provider.answers.clear()

        access = by_provider(provider.url)
        work_alone(
            store,
            key,
            local(store),
            access=access,
            beside=mend,
            rules=DeliveryRules(retry_wait_seconds=0.2),
        )
    end = see_fire(store, fire)
    assert (end.state, end.attempts, end.possible_duplicate) == ("delivered", 2, False)
    assert len(inputs(recorder, [fire])) == 1


def test_five_times_without_an_answer_is_a_failure_that_says_so(store: PostgresStore) -> None:
    schedule = a_schedule(store, stopped=True, creator_principal=ANN)
    key = past_slice(store)
    fire = a_fire(store, schedule, key, database_now(store))
    platform = Platform()
    with a_provider(answers={"execute": (502, b"")}) as provider:
        work_alone(store, key, platform, access=by_provider(provider.url))
        assert len(provider.calls) == 5
    end = see_fire(store, fire)
    assert (end.state, end.reason, end.attempts) == ("failed", "access_unavailable", 5)
    assert end.error == "The authorization provider answered /v1/authz/check with 502."
    assert platform.created == []


def test_a_provider_that_hangs_over_one_creator_delays_no_other_of_the_same_agent(
    store: PostgresStore, recorder: RunningAgent
) -> None:
    """Twice as many hang as the agent has slots."""
    agent = an_agent(store, recorder.url)
    key = past_slice(store)
    hung = many_fires(store, agent, key, 128, due_in=-2, creator_principal=ANN)
    bobs = ANN | {"user_id": "bob"}
    fine = a_fire(
        store,
        a_schedule(store, agent, stopped=True, creator_principal=bobs),
        key,
        database_now(store) - seconds(1),
    )
    with a_provider(answers={"ann": HANG}) as provider:

        async def bobs_goes_out(worker: SliceWorker, dispatch: Dispatch) -> None:
            await until(lambda: see_fire(store, fine).state == "delivered")
            assert "access_unavailable" not in {see_fire(store, fire).reason for fire in hung}
            provider.answers["ann"] = (403, b"gone")
            provider.over.set()

        access = by_provider(provider.url, answer=6)
        work_alone(store, key, local(store), access=access, beside=bobs_goes_out)
    assert see_fire(store, fine).state == "delivered"
    assert {see_fire(store, fire).reason for fire in hung} == {"permission_denied"}


# --- as the settings say --------------------------------------------------------------------------


def test_a_run_asks_whom_the_settings_name(
    store: PostgresStore, database_url: str, recorder: RunningAgent
) -> None:
    """For one and the same creator, who may by none's and the provider's word, and has no key."""
    agent = an_agent(store, recorder.url)
    ends = {}
    with a_provider() as provider:
        for auth in Auth:
            schedule = a_schedule(store, agent, stopped=True, creator_principal=ANN)
            key = past_slice(store)
            fire = a_fire(store, schedule, key, database_now(store))
            work_slice(database_url, key, f"run-{auth}", auth=auth, auth_url=provider.url)
            end = see_fire(store, fire)
            ends[auth.value] = (end.state, end.reason, len(provider.calls))
    assert ends == {
        "none": ("delivered", None, 0),
        "api_key": ("skipped", "permission_denied", 0),
        "agentex": ("delivered", None, 5),
    }
