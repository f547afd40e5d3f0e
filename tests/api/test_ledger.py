"""Fires across schedules, single ones, and the change history, over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store import ledger
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.api.factories import Api
from tests.api.test_fires import FIRE_KEYS
from tests.ledger import (
    a_dispatch,
    a_fire,
    a_schedule,
    an_agent,
    database_now,
    delete_schedule,
    past_slice,
    query,
    seconds,
)


@pytest.fixture
def stored(api: Api, database_url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(with_driver(database_url, "psycopg"), pool_size=2)
    yield opened
    opened.close()


def _get(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    response = client.get(path, params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def _ids(page: dict[str, Any]) -> list[str]:
    return [fire["id"] for fire in page["fires"]]


def _all(client: httpx.Client, path: str, **query: Any) -> tuple[list[str], int]:
    """The ids on all pages, and how many pages there were."""
    found, pages = [], 1
    page = _get(client, path, **query)
    while True:
        found += _ids(page)
        if page["next_cursor"] is None:
            return found, pages
        page = _get(client, path, **query, cursor=page["next_cursor"])
        pages += 1


def test_fires_are_filtered_by_everything_that_is_said(api: Api, stored: PostgresStore) -> None:
    key = past_slice(stored)
    now = database_now(stored)
    first, second = a_schedule(stored, stopped=True), a_schedule(stored, stopped=True)
    skipped = a_fire(stored, first, key, now - seconds(50), state=FireState.SKIPPED)
    missed = a_fire(stored, first, key, now - seconds(40), state=FireState.MISSED)
    failed = a_fire(
        stored, second, key, now - seconds(30), state=FireState.FAILED, reason=FireReason.TIMEOUT
    )

    def found(**wanted: Any) -> list[str]:
        ids, _ = _all(api.client, "/fires", **wanted)
        return ids

    assert found() == [failed, missed, skipped]
    assert found(schedule_id=first.id) == [missed, skipped]
    assert found(agent_id=second.agent_id) == [failed]
    assert found(state=["skipped", "failed"]) == [failed, skipped]
    assert found(reason="timeout") == [failed]
    assert found(state="skipped", reason="timeout") == []
    assert found(trigger_type="manual") == []
    assert found(trigger_type=["manual", "scheduled"], state="missed") == [missed]
    assert found(to=(now - seconds(40)).isoformat()) == [skipped]
    assert found(**{"from": (now - seconds(40)).isoformat()}) == [failed, missed]
    delete_schedule(stored, first)
    assert found(schedule_id=first.id) == [missed, skipped]
    path = f"/agents/{second.agent_id}/schedules/{second.id}/fires"
    assert _ids(_get(api.client, path, state="failed")) == [failed]
    assert _ids(_get(api.client, path, state="missed")) == []
    (shown,) = _get(api.client, path)["fires"]
    assert set(shown) == FIRE_KEYS


@pytest.mark.parametrize(
    ("name", "value"),
    [("state", "odd"), ("reason", "odd"), ("trigger_type", "odd"), ("from", "soon"), ("to", "1"),
     ("cursor", "x"), ("cursor", "WyIxIl0="), ("cursor", "WyJub3ciLCAieCJd"), ("limit", "0")],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_named(refusing_api: Api, name: str, value: str) -> None:
    response = refusing_api.client.get("/fires", params={name: value})
    assert response.status_code == 422
    assert response.json()["message"].startswith(name)


def test_pages_of_all_fires_are_stable_while_fires_come_in(api: Api, stored: PostgresStore) -> None:
    key, now = past_slice(stored), database_now(stored)
    schedules = [a_schedule(stored, stopped=True) for _ in range(3)]
    # Three at each instant: the order among them is by id.
    wanted = [
        sorted(a_fire(stored, schedule, key, now - seconds(ago)) for schedule in schedules)
        for ago in range(10, 20)
    ]
    page = _get(api.client, "/fires", limit=4)
    seen = _ids(page)
    late = a_schedule(stored, stopped=True)
    while page["next_cursor"] is not None:
        a_fire(stored, late, key, now + seconds(len(seen)))
        page = _get(api.client, "/fires", limit=4, cursor=page["next_cursor"])
        seen += _ids(page)
    assert seen == [fire for instant in wanted for fire in instant]


def test_a_rare_state_among_many_fires_is_found_over_short_pages(
    api: Api, stored: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SCANNED_AT_MOST", 5)
    key, now = past_slice(stored), database_now(stored)
    schedule = a_schedule(stored, stopped=True)
    rare = {}
    for ago in range(23):
        state = FireState.FAILED if ago in (0, 4, 5, 22) else FireState.MISSED
        rare[ago] = a_fire(stored, schedule, key, now - seconds(ago), state=state)
    found, pages = _all(api.client, "/fires", state="failed", limit=2)
    assert (found, pages) == ([rare[ago] for ago in (0, 4, 5, 22)], 5)
    everything, _ = _all(api.client, "/fires", limit=2)
    assert everything == list(rare.values())


def test_one_fire_says_what_became_of_its_task(api: Api, stored: PostgresStore) -> None:
    schedule = a_schedule(stored, an_agent(stored), stopped=True)
    key = past_slice(stored)
    fire = a_fire(
        stored, schedule, key, database_now(stored), state=FireState.DELIVERED,
        claimed_by=a_dispatch(stored, key),
    )  # fmt: skip
    shown = _get(api.client, f"/fires/{fire}")
    assert set(shown) == FIRE_KEYS | {"task_status"}
    assert (shown["id"], shown["task_status"]) == (fire, None)
    query(
        stored,
        "insert into tasks (id, name, agent_id, status) values (:id, 'n', :agent, 'COMPLETED')",
        id=shown["task_id"],
        agent=schedule.agent_id,
    )
    assert _get(api.client, f"/fires/{fire}")["task_status"] == "COMPLETED"


def test_a_fire_that_does_not_exist_is_not_found(refusing_api: Api) -> None:
    response = refusing_api.client.get("/fires/absent")
    assert response.status_code == 404
    assert response.json()["message"] == "Fire 'absent' does not exist."


def test_the_history_says_who_did_what_when_and_why(api: Api) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    place = f"{api.url}/{schedule['id']}"
    api.client.patch(place, json={"description": "new"})
    api.client.post(f"{place}/pause", json={"note": "holidays"})
    api.client.post(f"{place}/resume")
    api.client.post(f"{place}/skip", json={"scheduled_time": "2090-01-01T00:00:00Z"})
    api.client.delete(place)

    changes = _get(api.client, f"{place}/history")["changes"]

    assert [change["operation"] for change in changes] == [
        "delete", "skip", "resume", "pause", "update", "create",
    ]  # fmt: skip
    assert [change["version"] for change in changes] == [6, 5, 4, 3, 2, 1]
    assert changes[1]["note"] == "2090-01-01T00:00:00Z"
    assert (changes[3]["note"], changes[3]["actor"]) == ("holidays", {})
    updated = changes[4]
    assert (updated["before"]["description"], updated["after"]["description"]) == (None, "new")
    assert changes[5]["before"] is None
    assert changes[5]["at"].endswith("Z")


def test_the_history_has_pages_that_inserts_do_not_move(api: Api) -> None:
    schedule = api.created()
    place = f"{api.url}/{schedule['id']}"
    for number in range(6):
        api.client.patch(place, json={"description": str(number)})
    page = _get(api.client, f"{place}/history", limit=3)
    seen = [change["version"] for change in page["changes"]]
    while page["next_cursor"] is not None:
        api.client.patch(place, json={"description": "later"})
        page = _get(api.client, f"{place}/history", limit=3, cursor=page["next_cursor"])
        seen += [change["version"] for change in page["changes"]]
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_the_history_of_nobodys_schedule_is_not_found(refusing_api: Api) -> None:
    response = refusing_api.client.get(f"{refusing_api.url}/absent/history")
    assert response.status_code == 404
    assert response.json()["message"] == (
        f"Run schedule 'absent' for agent '{refusing_api.agent_id}' does not exist."
    )
    odd = refusing_api.client.get(f"{refusing_api.url}/absent/history?cursor=WyItMSJd")
    assert odd.json()["message"] == (
        "cursor: is not a next_cursor of this list; leave it out to start anew"
    )
