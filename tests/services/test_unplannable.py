"""One schedule that cannot be understood any more stops nobody else's clock."""

import logging

import pytest

from schedules_pipeline.services.planning import Planner
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import RULES, a_schedule, query


def test_a_row_edited_by_hand_is_named_in_the_log_and_the_others_are_planned(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    broken, good = a_schedule(store, every=1), a_schedule(store, every=1)
    query(
        store,
        "update agent_run_schedules set timezone = 'Mars/Olympus', "
        "cron_expression = '* * * * *', interval_seconds = null where id = :id",
        id=broken.id,
    )
    with caplog.at_level(logging.ERROR):
        planned = Planner(store, RULES).plan(lambda: False)
    fires = query(store, "select schedule_id from fires")
    assert planned.fires == len(fires) > 0
    assert {row.schedule_id for row in fires} == {good.id}
    assert f"schedule {broken.id} cannot be planned: timezone: " in caplog.text


def test_once_it_is_mended_it_goes_on_where_it_stood(store: PostgresStore) -> None:
    broken = a_schedule(store, every=1)
    query(
        store,
        "update agent_run_schedules set interval_seconds = null, "
        "cron_expression = 'nonsense' where id = :id",
        id=broken.id,
    )
    assert Planner(store, RULES).plan(lambda: False).fires == 0
    query(
        store,
        "update agent_run_schedules set cron_expression = null, interval_seconds = 1 "
        "where id = :id",
        id=broken.id,
    )
    assert Planner(store, RULES).plan(lambda: False).fires > 0
