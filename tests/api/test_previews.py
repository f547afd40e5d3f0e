"""Previews over HTTP: of a cadence that is not saved, and of a schedule."""

from typing import Any

import psycopg

from tests.api.factories import Api

BERLIN_MORNING = {"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"}


def _preview(api: Api, **body: Any) -> dict[str, Any]:
    response = api.client.post("/schedules/preview", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer.keys() == {"occurrences", "sentence", "warnings", "exhausted"}
    return answer


def test_a_preview_tells_utc_local_time_due_time_and_the_spring_gap(api: Api) -> None:
    answer = _preview(api, **BERLIN_MORNING, **{"from": "2026-03-28T00:00:00Z", "count": 2})
    assert answer["occurrences"] == [
        {
            "nominal_at": "2026-03-28T01:30:00Z",
            "local": "2026-03-28T02:30:00+01:00",
            "due_at": "2026-03-28T01:30:00Z",
            "marks": [],
        },
        {
            "nominal_at": "2026-03-29T01:00:00Z",
            "local": "2026-03-29T03:00:00+02:00",
            "due_at": "2026-03-29T01:00:00Z",
            "marks": ["dst_gap"],
        },
    ]
    assert answer["exhausted"] is False
    assert "Europe/Berlin" in answer["sentence"]
    assert any("2026-03-29" in warning for warning in answer["warnings"])


def test_an_excluded_occurrence_is_marked_and_not_counted(api: Api) -> None:
    answer = _preview(
        api,
        cron_expression="0 9 * * *",
        exclude_cron=["* * 25 12 *"],
        count=2,
        **{"from": "2026-12-24T00:00:00Z"},
    )
    assert [(each["nominal_at"], each["marks"]) for each in answer["occurrences"]] == [
        ("2026-12-24T09:00:00Z", []),
        ("2026-12-25T09:00:00Z", ["excluded"]),
        ("2026-12-26T09:00:00Z", []),
    ]


def test_a_preview_begins_now_and_shows_ten(api: Api) -> None:
    assert len(_preview(api, interval_seconds=60)["occurrences"]) == 10


def test_a_single_instant_is_shown_as_exhausted(api: Api) -> None:
    answer = _preview(api, fire_at="2090-01-01T00:00:00Z")
    assert len(answer["occurrences"]) == 1
    assert answer["exhausted"] is True


def test_a_past_instant_may_be_looked_at_and_is_warned_of(api: Api) -> None:
    answer = _preview(api, fire_at="2020-01-01T00:00:00Z")
    assert answer["occurrences"] == []
    assert any("never fires again" in warning for warning in answer["warnings"])


def test_an_unsaved_jitter_is_said_not_guessed(api: Api) -> None:
    answer = _preview(api, interval_seconds=60, jitter_seconds=30)
    assert all(each["due_at"] == each["nominal_at"] for each in answer["occurrences"])
    assert any("jitter" in warning for warning in answer["warnings"])


def test_a_thousand_are_shown_and_no_more(api: Api) -> None:
    assert len(_preview(api, interval_seconds=60, count=1000)["occurrences"]) == 1000
    too_many = api.client.post("/schedules/preview", json={"interval_seconds": 60, "count": 1001})
    assert too_many.status_code == 422
    assert too_many.json()["message"].startswith("count: ")


def test_a_cadence_that_makes_no_sense_is_refused_as_create_would(api: Api) -> None:
    response = api.client.post("/schedules/preview", json={"cron_expression": "0 0 30 2 *"})
    assert response.status_code == 422
    assert response.json()["message"].startswith("cron_expression: ")


def test_a_schedules_occurrences_carry_its_skips_and_its_jitter(
    api: Api, database_url: str
) -> None:
    created = api.created(interval_seconds=3600, jitter_seconds=60)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into schedule_skips values (%s, '2090-01-01T01:00:00Z')", (created["id"],)
        )
    path = f"{api.url}/{created['id']}/occurrences"
    query = {"from": "2090-01-01T00:00:00Z", "to": "2090-01-01T03:00:00Z"}

    answer = api.client.get(path, params=query).json()
    assert [(each["nominal_at"], each["marks"]) for each in answer["occurrences"]] == [
        ("2090-01-01T01:00:00Z", ["skipped"]),
        ("2090-01-01T02:00:00Z", []),
        ("2090-01-01T03:00:00Z", []),
    ]
    assert answer["exhausted"] is False
    assert any(each["due_at"] != each["nominal_at"] for each in answer["occurrences"])
    assert api.client.get(path, params=query).json() == answer
    assert len(api.client.get(path, params={"limit": 3}).json()["occurrences"]) == 3
