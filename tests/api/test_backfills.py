"""Backfills over REST and on the command line: their wire shape, and what they refuse."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from httpx import Response

from schedules_pipeline.cli import main
from tests.api.factories import Api

HOUR = timedelta(hours=1)
SHOWN = {
    "id", "schedule_id", "from", "to", "dry_run", "instants", "left", "new", "redriven", "forced",
    "fed", "states",
}  # fmt: skip


def ago(hours: int) -> str:
    """So many whole hours before the present one."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return (now - hours * HOUR).isoformat().replace("+00:00", "Z")


def backfill(api: Api, schedule: dict[str, Any], **body: Any) -> Response:
    return api.client.post(f"{api.url}/{schedule['id']}/backfill", json=body)


def test_a_range_is_backfilled_and_its_progress_can_be_read(api: Api) -> None:
    schedule = api.created()
    answer = backfill(api, schedule, **{"from": ago(3), "to": ago(1)})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == SHOWN
    assert body["schedule_id"] == schedule["id"]
    assert (body["from"], body["to"], body["dry_run"]) == (ago(3), ago(1), False)
    assert (body["instants"], body["left"], body["fed"]) == (3, 0, True)
    assert body["states"] == {"planned": 3}
    assert api.client.get(f"/backfills/{body['id']}").json() == body
    fires = api.client.get(f"{api.url}/{schedule['id']}/fires").json()["fires"]
    made = [fire["nominal_at"] for fire in fires if fire["trigger_type"] == "backfill"]
    assert made == [ago(1), ago(2), ago(3)]


def test_by_name_and_dry(api: Api) -> None:
    schedule = api.created()
    path = f"{api.url}/name/{schedule['name']}/backfill"
    body = {"from": ago(3), "to": ago(1), "dry_run": True, "overlap_policy": "allow_all"}
    answer = api.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["id"], shown["dry_run"], shown["fed"]) == (None, True, False)
    assert (shown["instants"], shown["new"], shown["redriven"], shown["forced"]) == (3, 3, 0, 0)
    fires = api.client.get(f"{api.url}/{schedule['id']}/fires").json()["fires"]
    assert [fire for fire in fires if fire["trigger_type"] == "backfill"] == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 422, "from: Field required"),
        ({"from": "2026-06-24T09:00:00", "to": "2026-06-24T10:00:00Z"}, 422, "carry an offset"),
        ({"from": "2026-06-24T09:00:00Z", "to": "2026-06-24T08:00:00Z"}, 422, "to: 2026-06-24T08"),
        ({"from": "2090-06-24T09:00:00Z", "to": "2090-06-24T10:00:00Z"}, 422, "from: lies ahead"),
        (
            {"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
            400,
            "More than 10,000 occurrences lie in that range (the last that fits is 2021-02-20",
        ),
        ({"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z", "overlap_policy": "skip"},
         422, "overlap_policy: Input should be 'allow_all'"),
        ({"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z", "force": 1}, 422, "force"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    api: Api, body: dict[str, Any], status: int, text: str
) -> None:
    answer = backfill(api, api.created(), **body)
    assert answer.status_code == status, answer.text
    assert text in answer.json()["message"]


def test_what_does_not_exist_is_404(api: Api) -> None:
    body = {"from": ago(3), "to": ago(1)}
    answer = backfill(api, {"id": "nobody"}, **body)
    assert answer.status_code == 404
    assert api.client.get("/backfills/nobody").json()["message"] == (
        "Backfill 'nobody' does not exist."
    )


def test_a_schedule_can_be_triggered_as_it_is_created(api: Api) -> None:
    schedule = api.created(trigger_immediately=True)
    fires = api.client.get(f"{api.url}/{schedule['id']}/fires").json()["fires"]
    assert [fire["trigger_type"] for fire in fires].count("manual") == 1
    assert schedule["num_actions_taken"] == 0


def test_the_command_line_does_the_same(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULES_DATABASE_URL", database_url)
    schedule = api.created()
    agent = api.client.get(f"/agents/{api.agent_id}").json()["name"]
    command = ["backfill", agent, schedule["name"], "--from", ago(3), "--to", ago(1)]

    dry = CliRunner().invoke(main, [*command, "--dry-run"])
    assert dry.output == (
        "3 occurrences: 3 new, 0 redriven, 0 forced, 0 left as they are. Nothing was changed.\n"
    )
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0
    backfill_id = done.output.split()[1].rstrip(":")
    assert api.client.get(f"/backfills/{backfill_id}").json()["states"] == {"planned": 3}

    nobody = CliRunner().invoke(main, ["backfill", "nobody", "x", "--from", ago(2), "--to", ago(1)])
    assert (nobody.exit_code, nobody.output) == (
        1,
        "schedules: Item with name 'nobody' does not exist.\n",
    )
