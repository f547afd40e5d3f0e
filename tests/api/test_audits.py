"""The audit of a schedule, overdue fires, and the clock's switches: their wire shape."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_pipeline.api.fields import INT32_MAX
from tests.api.factories import Api


def audit(api: Api, handle: str, **span: Any) -> dict[str, Any]:
    response = api.client.get(f"{api.url}/{handle}/audit", params=span)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def ahead(**by: float) -> str:
    return (datetime.now(UTC) + timedelta(**by)).isoformat()


def test_the_audit_lists_planned_and_upcoming_occurrences_by_id_and_by_name(api: Api) -> None:
    created = api.created(interval_seconds=10)
    span = {"from": ahead(hours=-1), "to": ahead(minutes=5)}

    found = audit(api, created["id"], **span)

    assert found == {**found, "holes": [], "paused": [], "exhausted": []}
    states = [row["state"] for row in found["occurrences"]]
    assert set(states) == {"planned", "upcoming"}
    assert all((row["fire_id"] is None) == (row["state"] == "upcoming")
               for row in found["occurrences"])  # fmt: skip
    assert audit(api, "name/hourly", **span)["occurrences"][:5] == found["occurrences"][:5]


def test_a_paused_stretch_is_named_and_owes_nothing(api: Api) -> None:
    created = api.created(interval_seconds=1, paused=True)
    found = audit(api, created["id"], to=ahead(minutes=5))
    assert (found["occurrences"], found["holes"]) == ([], [])
    ((paused),) = found["paused"]
    assert set(paused) == {"from", "to"}


def test_a_deleted_schedule_can_be_audited_and_a_strangers_cannot(api: Api) -> None:
    created = api.created(interval_seconds=1)
    api.client.delete(f"{api.url}/{created['id']}")
    found = audit(api, created["id"], to=ahead(minutes=5))
    assert found["holes"] == []
    assert {row["state"] for row in found["occurrences"]} <= {"planned"}
    response = api.client.get(f"/agents/other/schedules/{created['id']}/audit")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"from": ahead(days=2), "to": ahead(days=1)}, "to: is before from"),
        ({"from": ahead(), "to": ahead(days=1)}, "from: up to `to` there are more than 10,000"),
    ],
)
def test_a_span_that_makes_no_sense_is_refused(
    api: Api, span: dict[str, str], message: str
) -> None:
    created = api.created(interval_seconds=1)
    response = api.client.get(f"{api.url}/{created['id']}/audit", params=span)
    assert response.status_code == 422
    assert response.json()["message"].startswith(message)


def test_a_switch_answers_with_its_state_and_history(api: Api) -> None:
    for url in ("/clock", f"/agents/{api.agent_id}/clock"):
        put = api.client.put(url, json={"off": True, "note": "maintenance"})
        assert put.status_code == 200, put.text
        found = api.client.get(url).json()
        assert found == put.json()
        assert found["off"] is True
        assert found["clock"].startswith("stopped since ")
        (turn,) = found["history"]
        assert (turn["note"], turn["on_at"]) == ("maintenance", None)
        back = api.client.put(url, json={"off": False}).json()
        assert (back["off"], back["clock"]) == (False, "never ticked")


def test_a_trigger_and_readyz_say_that_the_clock_is_stopped(api: Api) -> None:
    created = api.created(paused=True)
    api.client.put("/clock", json={"off": True})
    found = api.client.post(f"{api.url}/{created['id']}/trigger").json()
    assert found["clock"].startswith("stopped since ")
    assert found["triggered_fire_id"]
    assert api.client.get("/readyz").json()["clock"] == found["clock"]
    (overdue,) = api.client.get("/fires/overdue").json()["fires"]
    assert (overdue["id"], overdue["state"]) == (found["triggered_fire_id"], "planned")


@pytest.mark.parametrize("body", [{}, {"off": "yes"}, {"off": 1}, {"off": INT32_MAX}])
def test_a_switch_is_turned_by_a_boolean(api: Api, body: dict[str, Any]) -> None:
    response = api.client.put("/clock", json=body)
    assert response.status_code == 422
    assert "off" in response.json()["message"]
