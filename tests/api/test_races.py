"""Requests against the clock's work, at once and over HTTP: each 200 is kept."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import httpx
import pytest

from schedules_pipeline.domain.slices import floor_minute, utc_stamp
from schedules_pipeline.services.claiming import claim
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.api.factories import Api
from tests.ledger import GRACE, a_dispatch, database_now, query

SCHEDULES = 20
AHEAD = timedelta(seconds=4)
WITHIN_SECONDS = 0.03

Act = Callable[[Api, str, str], httpx.Response]


def _skip(api: Api, place: str, at: str) -> httpx.Response:
    return api.client.post(f"{place}/skip", json={"scheduled_time": at})


def _delete(api: Api, place: str, _at: str) -> httpx.Response:
    return api.client.delete(place)


def _pause(api: Api, place: str, _at: str) -> httpx.Response:
    return api.client.post(f"{place}/pause")


def _patch(api: Api, place: str, _at: str) -> httpx.Response:
    return api.client.patch(place, json={"initial_input": {"content": "new"}})


def _race(api: Api, store: PostgresStore, act: Act) -> tuple[list[httpx.Response], list[str]]:
    """Many fires of one instant: each is claimed by a run and acted on by a request, around it."""
    instant = (database_now(store) + AHEAD).replace(microsecond=0)
    said = instant.isoformat()
    ids = [api.created(name=f"n{each}", fire_at=said)["id"] for each in range(SCHEDULES)]
    run = a_dispatch(store, utc_stamp(floor_minute(instant)))
    dice = random.Random(3)
    waits = [dice.uniform(-WITHIN_SECONDS, WITHIN_SECONDS) for _ in ids]

    def ask(which: int) -> httpx.Response:
        _sleep_until(store, instant, waits[which])
        return act(api, f"{api.url}/{ids[which]}", said)

    with ThreadPoolExecutor(SCHEDULES + 1) as threads:
        work = threads.submit(_work, store, run, instant)
        answers = list(threads.map(ask, range(SCHEDULES)))
        work.result()
    return answers, ids


def _work(store: PostgresStore, run: str, instant: datetime) -> None:
    """What a run does at the instant: claim, until nothing is left planned."""
    key = utc_stamp(floor_minute(instant))
    _sleep_until(store, instant, 0)
    while wanted := store.run(lambda tx: tx.claims.open_in(key, run, SCHEDULES)):
        store.run(lambda tx, these=wanted: claim(tx, these, run, GRACE))  # type: ignore[misc]
        left = query(store, "select count(*) from fires where state = 'planned'")
        if left[0][0] == 0:
            return


def _sleep_until(store: PostgresStore, instant: datetime, more: float) -> None:
    time.sleep(max(0.0, (instant - database_now(store)).total_seconds() + more))


def _ends(store: PostgresStore) -> dict[str, tuple[str, str | None]]:
    rows = query(store, "select schedule_id, state, reason from fires")
    return {row.schedule_id: (row.state, row.reason) for row in rows}


def test_of_a_skip_and_a_fire_at_once_one_is_told_no(api: Api, store: PostgresStore) -> None:
    answers, ids = _race(api, store, _skip)
    ends = _ends(store)
    for schedule_id, answer in zip(ids, answers, strict=True):
        if answer.status_code == 200:
            assert ends[schedule_id] == ("skipped", "skipped_by_user")
        else:
            assert answer.status_code == 400, answer.text
            assert ends[schedule_id] == ("claimed", None)


@pytest.mark.parametrize(("act", "reason"), [(_delete, "deleted"), (_pause, "paused")])
def test_an_end_and_a_fire_at_once_are_seen_in_one_order_or_the_other(
    api: Api, store: PostgresStore, act: Act, reason: str
) -> None:
    answers, ids = _race(api, store, act)
    ends = _ends(store)
    assert {answer.status_code for answer in answers} == {200}
    assert {ends[schedule_id] for schedule_id in ids} <= {("claimed", None), ("skipped", reason)}
    late = query(
        store,
        "select f.id from fires f join schedule_changes c on c.schedule_id = f.schedule_id "
        "where c.operation <> 'create' and f.claimed_at > c.at",
    )
    assert late == []


def test_a_fire_says_what_the_last_patch_before_its_claim_said(
    api: Api, store: PostgresStore
) -> None:
    answers, _ = _race(api, store, _patch)
    assert {answer.status_code for answer in answers} == {200}
    rows = query(
        store,
        "select f.state, f.schedule_version, f.claimed_at > s.updated_at as after from fires f "
        "join agent_run_schedules s on s.id = f.schedule_id",
    )
    assert [row.state for row in rows] == ["claimed"] * SCHEDULES
    assert all(row.schedule_version == (2 if row.after else 1) for row in rows)
