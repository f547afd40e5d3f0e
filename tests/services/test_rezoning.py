"""Another tzdata version: clocks set under the old one are set anew, nothing lost or doubled."""

from datetime import datetime

import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.rezoning import bring_up_to_date
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.factories import a_draft
from tests.ledger import RULES, an_agent, database_now, one, query, seconds


def created(store: PostgresStore, every: int = 20) -> Schedule:
    draft = a_draft(cadence=Cadence(interval_seconds=every))
    return Schedules(store, RULES).create(an_agent(store).id, draft, {}).schedule


def under_old_rules(store: PostgresStore, next_at: datetime | None = None) -> None:
    query(store, "update schedule_clock set tzdata_version = '1999a', "
                 "next_nominal_at = coalesce(:at, next_nominal_at), "
                 "next_due_at = coalesce(:at, next_due_at)", at=next_at)  # fmt: skip


def fires(store: PostgresStore) -> list[tuple[datetime, str]]:
    rows = query(store, "select nominal_at, state from fires order by nominal_at")
    return [(row.nominal_at, row.state) for row in rows]


def test_where_the_rules_say_the_same_only_the_version_changes(store: PostgresStore) -> None:
    created(store)
    Planner(store, RULES).plan(lambda: False)
    before, planned = one(store, "select next_nominal_at from schedule_clock"), fires(store)
    under_old_rules(store)

    bring_up_to_date(store, TZDATA_VERSION)

    (row,) = query(store, "select next_nominal_at, tzdata_version from schedule_clock")
    assert tuple(row) == (before, TZDATA_VERSION)
    assert fires(store) == planned


def test_what_the_new_rules_bring_forward_is_planned_once(store: PostgresStore) -> None:
    created(store)
    right = fires(store)
    assert right
    # As if the old rules had put everything planned one second later, and the clock an hour on.
    query(
        store,
        "update fires set id = id || 'x', nominal_at = nominal_at + interval '1 s', "
        "due_at = due_at + interval '1 s', owed_at = owed_at + interval '1 s'",
    )
    under_old_rules(store, database_now(store) + seconds(3_600))

    bring_up_to_date(store, TZDATA_VERSION)
    Planner(store, RULES).plan(lambda: False)

    now = database_now(store)
    after = fires(store)
    assert [at for at, state in after if state == "planned" and at > now] == [
        at for at, _ in right if at > now
    ]
    assert {state for at, state in after if at not in dict(right)} <= {"cancelled", "planned"}
    bring_up_to_date(store, TZDATA_VERSION)
    Planner(store, RULES).plan(lambda: False)
    assert fires(store)[: len(after)] == after


def test_a_clock_that_is_behind_keeps_its_place(store: PostgresStore) -> None:
    created(store, every=600)
    behind = datetime.fromtimestamp(
        (database_now(store) - seconds(7_200)).timestamp() // 600 * 600,
        tz=database_now(store).tzinfo,
    )
    under_old_rules(store, behind)

    bring_up_to_date(store, TZDATA_VERSION)

    assert one(store, "select next_nominal_at from schedule_clock") == behind


@pytest.mark.parametrize("off", [False, True])
def test_what_is_switched_off_waits_with_its_old_rules(store: PostgresStore, off: bool) -> None:
    schedule = created(store, every=86_400)
    under_old_rules(store)
    if off:
        store.run(lambda tx: tx.switches.turn_off(schedule.agent_id, {}, None))

    bring_up_to_date(store, TZDATA_VERSION)

    found = one(store, "select tzdata_version from schedule_clock")
    assert found == ("1999a" if off else TZDATA_VERSION)
