"""Schedules across agents: found, paused and resumed by filter."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from schedules_pipeline.services import browsing
from tests.api.factories import Api, agent_body, schedule_body


def _found(client: httpx.Client, **query: Any) -> list[str]:
    """The names on all pages."""
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        response = client.get("/schedules", params={**query, **cursor})
        assert response.status_code == 200, response.text
        page = response.json()
        names += [schedule["name"] for schedule in page["schedules"]]
        if page["next_cursor"] is None:
            return names
        cursor = {"cursor": page["next_cursor"]}


def _bulk(client: httpx.Client, act: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"/schedules/{act}", json=body)
    assert response.status_code == 200, response.text
    done: dict[str, Any] = response.json()
    return done


@pytest.fixture
def other(api: Api) -> Api:
    """A second agent, synchronous."""
    agent = api.client.post("/agents/register", json=agent_body(name="two", acp_type="sync"))
    return Api(client=api.client, agent_id=agent.json()["id"])


def test_schedules_are_filtered_by_everything_that_is_said(api: Api, other: Api) -> None:
    api.created(name="a", description="A 100% Report", paused=True)
    api.created(name="b-report", fire_at="2090-01-01T00:00:00Z")
    other.created(name="c", interval_seconds=7200)
    gone = other.created(name="gone")
    api.client.delete(f"{other.url}/{gone['id']}")
    client = api.client

    assert _found(client) == ["c", "b-report", "a"]
    assert _found(client, agent_id=other.agent_id) == ["c"]
    assert _found(client, name="a") == ["a"]
    assert _found(client, text="REPORT") == ["b-report", "a"]
    assert _found(client, text="0% R") == ["a"]
    assert _found(client, text="_") == []
    assert _found(client, paused=True) == _found(client, state="PAUSED") == ["a"]
    assert _found(client, paused=False, state="ACTIVE") == ["c", "b-report"]
    assert _found(client, next_fire_before="2080-01-01T00:00:00Z") == ["c"]
    assert _found(client, next_fire_before="2091-01-01T00:00:00Z") == ["c", "b-report"]
    shown = client.get("/schedules", params={"name": "c", "include_live": True}).json()
    (schedule,) = shown["schedules"]
    assert schedule == client.get(f"{other.url}/{schedule['id']}").json()
    assert schedule["initial_input_method"] == "message/send"


def test_a_fire_that_is_planned_already_counts_as_the_next_one(api: Api) -> None:
    """Its clock stands beyond it: planning runs ahead of time."""
    made = api.created(interval_seconds=40)
    planned = made["next_action_times"][0]
    assert _found(api.client, next_fire_before=made["next_action_times"][1]) == ["hourly"]
    assert _found(api.client, next_fire_before=planned) == []


@pytest.mark.parametrize("sort", ["name", "created_at", "updated_at"])
def test_pages_are_sorted_either_way_and_end_once(api: Api, sort: str) -> None:
    names = ["m", "c", "z", "a", "k"]
    for name in names:
        api.created(name=name)
    up = sorted(names) if sort == "name" else names
    for limit in (1, 2, 5, 6):
        assert _found(api.client, sort=sort, limit=limit) == up
        assert _found(api.client, sort=f"-{sort}", limit=limit) == up[::-1]


def test_schedules_that_come_in_move_no_page(api: Api) -> None:
    for number in range(6):
        api.created(name=f"n{number}")
    page = api.client.get("/schedules", params={"limit": 2}).json()
    api.created(name="later")
    seen = [schedule["name"] for schedule in page["schedules"]]
    while page["next_cursor"]:
        query = {"limit": 2, "cursor": page["next_cursor"]}
        page = api.client.get("/schedules", params=query).json()
        seen += [schedule["name"] for schedule in page["schedules"]]
    assert seen == [f"n{number}" for number in range(5, -1, -1)]


def test_a_cursor_of_another_order_or_filters_that_contradict_are_refused(api: Api) -> None:
    for name in ("a", "b"):
        api.created(name=name)
    cursor = api.client.get("/schedules", params={"limit": 1}).json()["next_cursor"]
    refused = api.client.get("/schedules", params={"sort": "name", "cursor": cursor})
    assert refused.status_code == 422
    assert refused.json()["message"] == (
        "cursor: is not a next_cursor of this list; leave it out to start anew"
    )
    refused = api.client.get("/schedules", params={"paused": True, "state": "ACTIVE"})
    assert refused.json()["message"] == "state: contradicts `paused`; give one of them"


def test_pause_and_resume_by_filter_say_what_they_changed(api: Api, other: Api) -> None:
    mine = [api.created(name=f"report-{number}")["id"] for number in range(3)]
    api.created(name="else")
    theirs = other.created(name="report-0")["id"]
    wanted = {"agent_id": api.agent_id, "text": "report"}

    tried = _bulk(api.client, "pause", filter=wanted, dry_run=True)
    assert tried == {"dry_run": True, "changed": mine, "busy": [], "more": False}
    assert _found(api.client, paused=True) == []

    done = _bulk(api.client, "pause", filter=wanted, note="holidays")
    assert done == {"dry_run": False, "changed": mine, "busy": [], "more": False}
    assert _found(api.client, paused=True, sort="name") == ["report-0", "report-1", "report-2"]
    assert _bulk(api.client, "pause", filter=wanted)["changed"] == []
    history = api.client.get(f"{api.url}/{mine[0]}/history").json()["changes"]
    assert [(row["operation"], row["note"]) for row in history] == [
        ("pause", "holidays"), ("create", None),
    ]  # fmt: skip

    _bulk(api.client, "pause", filter={"agent_id": other.agent_id})
    done = _bulk(api.client, "resume", all=True)
    assert done["changed"] == [*mine, theirs]
    assert _found(api.client, paused=True) == []


def test_a_filter_that_says_nothing_is_refused_unless_all_is_meant(api: Api) -> None:
    response = api.client.post("/schedules/pause", json={})
    assert response.status_code == 422
    assert response.json()["message"] == (
        "filter: says nothing; name what is wanted, or say `all: true`"
    )


def test_of_too_many_some_are_changed_and_the_rest_is_announced(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "BULK_AT_ONCE", 2)
    made = [api.created(name=f"n{number}")["id"] for number in range(5)]
    changed, rounds = [], 0
    while True:
        done = _bulk(api.client, "pause", all=True)
        changed += done["changed"]
        rounds += 1
        if not done["more"]:
            break
    assert (changed, rounds) == (made, 3)


def test_a_schedule_that_another_holds_is_named_and_the_others_are_paused(
    api: Api, database_url: str
) -> None:
    held, free = (api.created(name=name)["id"] for name in ("held", "free"))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "select 1 from schedule_clock where schedule_id = %s for update", (held,)
        )
        done = _bulk(api.client, "pause", all=True)
    assert (done["changed"], done["busy"]) == ([free], [held])


def test_two_bulk_pauses_and_clicks_at_once_pause_each_schedule_once(api: Api) -> None:
    made = [api.created(name=f"n{number}")["id"] for number in range(20)]
    start = threading.Barrier(3)

    def pause() -> list[str]:
        start.wait()
        changed: list[str] = _bulk(api.client, "pause", all=True)["changed"]
        return changed

    def click() -> list[str]:
        start.wait()
        for schedule in made[::4]:
            api.client.delete(f"{api.url}/{schedule}")
        return []

    with ThreadPoolExecutor(3) as threads:
        works = [threads.submit(work) for work in (pause, pause, click)]
        changed = [schedule for work in works for schedule in work.result()]
    assert len(changed) == len(set(changed))
    left = [schedule for number, schedule in enumerate(made) if number % 4]
    assert set(left) <= set(changed)
    for schedule in left:
        assert api.client.get(f"{api.url}/{schedule}").json()["version"] == 2


def test_a_bulk_pause_under_a_key_is_answered_word_for_word(api: Api) -> None:
    made = api.created()["id"]
    headers = {"idempotency-key": "bulk-1"}
    for _ in range(2):
        response = api.client.post("/schedules/pause", json={"all": True}, headers=headers)
        assert response.json()["changed"] == [made]
    assert api.client.get(f"{api.url}/{made}").json()["version"] == 2


def test_a_page_of_many_with_live_data_carries_it_for_the_first_two_hundred(api: Api) -> None:
    for number in range(203):
        api.created(name=f"n{number}", fire_at="2090-01-01T00:00:00Z")
    for path in (api.url, "/schedules"):
        query = {"limit": 1_000, "include_live": True}
        body = api.client.get(path, params=query).json()
        rows = body.get("run_schedules") or body["schedules"]
        assert [row["live_data_available"] for row in rows] == [True] * 200 + [None] * 3


def test_the_body_of_a_schedule_is_the_same_in_every_list(api: Api) -> None:
    made = api.client.post(api.url, json=schedule_body(paused=True)).json()
    (listed,) = api.client.get(api.url, params={"include_live": True}).json()["run_schedules"]
    query = {"include_live": True}
    (found,) = api.client.get("/schedules", params=query).json()["schedules"]
    assert listed == found == made
