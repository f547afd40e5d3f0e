"""Schedules of nobody, or of who left, become somebody's: each once, and they fire on."""

from hashlib import sha256

import pytest

from schedules_pipeline.access.fire_keys import KeyHoldersMay
from schedules_pipeline.errors import Rejected
from schedules_pipeline.services.adopting import Adoption
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import (
    RULES,
    a_fire,
    a_schedule,
    database_now,
    delete_schedule,
    past_slice,
    query,
    seconds,
    see_fire,
)
from tests.services.working import Platform, work_alone

OPS = {"principal_type": "api_key", "user_id": "ops"}
ANN = {"principal_type": "user", "user_id": "ann"}


@pytest.fixture
def adoption(store: PostgresStore) -> Adoption:
    def make(tx: Transaction) -> None:
        for name, role in (("ops", Role.ADMIN), ("viewer", Role.VIEWER)):
            tx.principals.create(name, role)
            tx.principals.add_key(name, name, sha256(name.encode()).hexdigest(), None)

    store.run(make)
    return Adoption(store, Editor(store, RULES))


def test_only_schedules_without_a_creator_are_adopted_and_only_once(
    store: PostgresStore, adoption: Adoption
) -> None:
    nobodys, anns = a_schedule(store), a_schedule(store, creator_principal=ANN)
    delete_schedule(store, a_schedule(store))
    assert adoption.warning() == (
        "Schedules without a creator, which do not fire: 1. They were made while SCHEDULES_AUTH "
        "was none. `schedules keys adopt --principal NAME` gives them one."
    )
    assert (adoption.adopt("ops"), adoption.adopt("ops"), adoption.warning()) == (1, 0, None)
    kept = query(
        store, "select id, creator_principal from agent_run_schedules where deleted_at is null"
    )
    assert dict(tuple(row) for row in kept) == {nobodys.id: OPS, anns.id: ANN}


def test_an_adoption_is_in_the_history_and_changes_nothing_else(
    store: PostgresStore, adoption: Adoption
) -> None:
    schedule = a_schedule(store)
    clock = query(store, "select * from schedule_clock")
    adoption.adopt("ops")
    (change,) = query(store, "select * from schedule_changes")
    assert (change.operation, change.actor) == ("update", {"principal_type": "system"})
    assert (change.schedule_id, change.version, change.note) == (
        schedule.id,
        2,
        "Its creator was changed by an operator.",
    )
    moved = {
        name
        for name in change.after
        if change.before[name] != change.after[name] and name not in ("version", "updated_at")
    }
    assert moved == {"creator_principal"}
    assert query(store, "select * from schedule_clock") == clock


def test_what_one_principal_made_is_handed_over_to_another(
    store: PostgresStore, adoption: Adoption
) -> None:
    gone = OPS | {"user_id": "gone"}
    handed_over, anns = (a_schedule(store, creator_principal=each) for each in (gone, ANN))
    nobodys = a_schedule(store)
    assert (adoption.adopt("ops", "gone"), adoption.adopt("ops", "gone")) == (1, 0)
    kept = query(store, "select id, creator_principal from agent_run_schedules")
    creators = {handed_over.id: OPS, anns.id: ANN, nobodys.id: {}}
    assert dict(tuple(row) for row in kept) == creators


@pytest.mark.parametrize("principal", ["viewer", "nobody"])
def test_who_may_not_start_tasks_cannot_adopt(adoption: Adoption, principal: str) -> None:
    with pytest.raises(Rejected) as refused:
        adoption.adopt(principal)
    assert str(refused.value) == (
        f"Principal '{principal}' may not start tasks: it must be an editor or admin with a valid "
        "key (`schedules keys create`)."
    )


def test_an_adopted_schedule_fires_on(store: PostgresStore, adoption: Adoption) -> None:
    schedule = a_schedule(store, stopped=True)
    key = past_slice(store)
    access = KeyHoldersMay(lambda names: store.run(lambda tx: tx.principals.may_fire(names)))
    before = a_fire(store, schedule, key, database_now(store) - seconds(2))
    work_alone(store, key, Platform(), access=access)
    adoption.adopt("ops")
    after = a_fire(store, schedule, key, database_now(store))
    work_alone(store, key, Platform(), run="run-2", access=access)
    assert (see_fire(store, before).state, see_fire(store, after).state) == ("skipped", "delivered")
