"""PATCH, pause, resume, skip, unskip, trigger, redrive and delete: the contract's wire shape."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from httpx import Response

from tests.api.factories import Api
from tests.api.test_schedules import SCHEDULE_KEYS

FULL: dict[str, Any] = {
    "description": "d",
    "cron_expression": "0 9 * * *",
    "timezone": "Europe/Berlin",
    "start_at": "2026-01-01T00:00:00Z",
    "end_at": "2090-01-01T00:00:00Z",
    "jitter_seconds": 30,
    "exclude_cron": ["* * 25 12 *"],
    "catchup_policy": "all",
    "catchup_window_seconds": 60,
    "max_fires": 5,
    "pause_after_failures": 2,
    "overlap_policy": "buffer_all",
    "overlap_scope": "task",
    "overlap_task_timeout_seconds": 60,
    "delivery_guarantee": "at_most_once",
    "task_params": {"p": 1, "deep": {"a": 1}},
    "task_metadata": {"team": "x"},
    "initial_input": {"type": "text", "author": "agent", "content": "hi"},
}


def patch(api: Api, schedule: dict[str, Any], **body: Any) -> Response:
    return api.client.patch(f"{api.url}/{schedule['id']}", json=body)


def patched(api: Api, schedule: dict[str, Any], **body: Any) -> dict[str, Any]:
    response = patch(api, schedule, **body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert set(found) == SCHEDULE_KEYS
    return found


def post(api: Api, schedule: dict[str, Any], verb: str, body: Any = None) -> Response:
    return api.client.post(f"{api.url}/{schedule['id']}/{verb}", json=body)


def refused(response: Response, message: str) -> None:
    assert response.status_code == 400, response.text
    assert response.json() == {"message": message, "code": 400, "data": None}


# --- PATCH ----------------------------------------------------------------------------------------


def test_only_keys_that_are_present_are_considered(api: Api) -> None:
    created = api.created(**FULL)
    assert created.items() >= FULL.items()
    found = patched(api, created, description="new", unknown="ignored")
    changed = {"description": "new", "version": 2, "updated_at": found["updated_at"]}
    assert found == created | changed
    assert found["updated_at"] > created["updated_at"]
    assert api.client.get(f"{api.url}/{created['id']}").json() == found
    assert patched(api, created).items() >= (FULL | {"description": "new"}).items()


def test_an_explicit_null_clears_or_resets_or_is_ignored(api: Api) -> None:
    created = api.created(**FULL)
    cleared: dict[str, Any] = dict.fromkeys(
        ("description", "start_at", "end_at", "task_params", "task_metadata", "max_fires",
         "pause_after_failures")
    )  # fmt: skip
    reset = {"jitter_seconds": 0, "exclude_cron": [], "catchup_policy": "latest",
             "catchup_window_seconds": 3600, "cron_day_match": "either", "dst_gap": "run_after",
             "dst_fold": "first", "interval_phase_seconds": 0, "overlap_policy": "skip",
             "overlap_scope": "delivery", "overlap_task_timeout_seconds": 86400,
             "delivery_guarantee": "at_least_once"}  # fmt: skip
    ignored = ("name", "timezone", "paused", "initial_input", "interval_seconds", "fire_at")
    found = patched(api, created, **dict.fromkeys((*cleared, *reset, *ignored)))
    assert found.items() >= (cleared | reset).items()
    assert {key: found[key] for key in ignored} == {key: created[key] for key in ignored}
    assert found["cron_expression"] == "0 9 * * *"


def test_setting_one_cadence_clears_the_others(api: Api) -> None:
    created = api.created(interval_seconds=600, interval_phase_seconds=60)
    kinds = ("cron_expression", "interval_seconds", "fire_at", "interval_phase_seconds")

    def shape(**body: Any) -> tuple[Any, ...]:
        found = patched(api, created, **body)
        return tuple(found[kind] for kind in kinds)

    assert shape(cron_expression="0 9 * * *") == ("0 9 * * *", None, None, 0)
    assert shape(interval_seconds=600, cron_expression=None) == (None, 600, None, 0)
    assert shape(fire_at="2090-01-01T00:00:00Z") == (None, None, "2090-01-01T00:00:00Z", 0)
    assert shape(interval_seconds=60, interval_phase_seconds=5) == (None, 60, None, 5)


def test_two_cadences_are_422_and_none_left_is_400(api: Api) -> None:
    created = api.created()
    both = patch(api, created, cron_expression="0 9 * * *", interval_seconds=60)
    assert both.status_code == 422
    assert both.json()["status_code"] == 10422
    assert "give one of them" in both.json()["message"]
    refused(
        patch(api, created, interval_seconds=None),
        "Schedule must have exactly one of cron_expression or interval_seconds",
    )
    assert api.client.get(f"{api.url}/{created['id']}").json()["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"cron_expression": "nonsense"},
        {"timezone": "Europe/Berln"},
        {"interval_seconds": 0},
        {"interval_seconds": 2**31},
        {"max_fires": 0},
        {"pause_after_failures": True},
        {"catchup_policy": "some"},
        {"overlap_policy": "sometimes"},
        {"overlap_scope": "agent"},
        {"overlap_task_timeout_seconds": 0},
        {"delivery_guarantee": "exactly_once"},
        {"catchup_window_seconds": -1},
        {"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"},
        {"end_at": "2020-01-01T00:00:00Z"},
        {"interval_phase_seconds": 3600},
        {"name": "Not A Name"},
        {"paused": "yes"},
        {"initial_input": {"author": "user"}},
        {"description": "\0"},
    ],
)
def test_what_makes_no_sense_is_422_and_changes_nothing(api: Api, body: dict[str, Any]) -> None:
    created = api.created()
    response = patch(api, created, **body)
    assert response.status_code == 422, response.text
    assert response.json()["status_code"] == 10422
    assert api.client.get(f"{api.url}/{created['id']}").json() == created


def test_json_and_the_input_are_replaced_whole(api: Api) -> None:
    created = api.created(**FULL)
    found = patched(api, created, task_params={"q": 2}, initial_input={"content": ""})
    assert found["task_params"] == {"q": 2}
    assert found["initial_input"] == {"type": "text", "author": "user", "content": ""}
    assert found["task_metadata"] == {"team": "x"}


def test_a_rename_to_a_taken_name_is_400(api: Api) -> None:
    api.created(name="daily")
    other = api.created(name="other")
    refused(
        patch(api, other, name="daily"),
        f"Run schedule 'daily' already exists for agent '{api.agent_id}'",
    )
    assert patched(api, other, name="other", description="same name")["name"] == "other"
    assert patched(api, other, name="free")["name"] == "free"
    assert api.client.get(f"{api.url}/name/other").status_code == 404


def test_paused_in_a_patch_pauses_and_resumes(api: Api) -> None:
    created = api.created()
    found = patched(api, created, paused=True)
    assert (found["paused"], found["state"], found["next_action_times"]) == (True, "PAUSED", [])
    found = patched(api, created, paused=False)
    assert (found["state"], len(found["next_action_times"])) == ("ACTIVE", 10)


# --- the other verbs ------------------------------------------------------------------------------


def test_pause_and_resume_take_an_optional_note(api: Api, database_url: str) -> None:
    created = api.created()
    for verb, state in (("pause", "PAUSED"), ("resume", "ACTIVE")):
        for body in (None, {}, {"note": None}, {"note": "why"}):
            response = post(api, created, verb, body)
            assert response.status_code == 200, response.text
            assert response.json()["state"] == state
            assert set(response.json()) == SCHEDULE_KEYS
    with psycopg.connect(database_url) as connection:
        notes = connection.execute("select note from schedule_changes where note = 'why'")
        assert len(notes.fetchall()) == 2


def test_a_skip_and_its_unskip_show_in_the_live_fields(api: Api) -> None:
    created = api.created()
    first, second = created["next_action_times"][:2]
    for _ in range(2):
        found = post(api, created, "skip", {"scheduled_time": second}).json()
        assert found["skipped_action_times"] == [second]
        assert second not in found["next_action_times"]
        assert found["next_action_times"][0] == first
    assert patched(api, created, description="x")["skipped_action_times"] == [second]
    local = datetime.fromisoformat(second).astimezone(UTC).isoformat().replace("+00:00", "-00:00")
    found = post(api, created, "unskip", {"scheduled_time": local}).json()
    assert (found["skipped_action_times"], found["next_action_times"]) == (
        [],
        created["next_action_times"],
    )
    refused(
        post(api, created, "unskip", {"scheduled_time": second}),
        "Cannot unskip a time that is not currently skipped",
    )


def test_a_skip_that_cannot_be_says_why(api: Api) -> None:
    created = api.created()
    past = "2026-01-01T00:00:00Z"
    for verb in ("skip", "unskip"):
        refused(
            post(api, created, verb, {"scheduled_time": past}),
            f"Cannot {verb} a past scheduled time",
        )
        for wrong in ({}, {"scheduled_time": "2090-01-01T00:00:00"}, {"scheduled_time": 5}):
            assert post(api, created, verb, wrong).status_code == 422
    first, second = created["next_action_times"][:2]
    between = datetime.fromisoformat(first) + timedelta(seconds=1)
    refused(
        post(api, created, "skip", {"scheduled_time": between.isoformat()}),
        "Cannot skip a time that is not an upcoming schedule action; "
        f"the nearest ones are {first} and {second}",
    )


def test_a_trigger_answers_with_the_schedule_and_the_fire(api: Api) -> None:
    created = api.created(paused=True)
    response = post(api, created, "trigger")
    assert response.status_code == 200, response.text
    found = response.json()
    assert set(found) == SCHEDULE_KEYS | {"triggered_fire_id"}
    assert found["num_actions_taken"] == 0
    (fire,) = api.client.get(f"{api.url}/{created['id']}/fires").json()["fires"]
    assert (fire["id"], fire["trigger_type"]) == (found["triggered_fire_id"], "manual")


def test_a_redrive_is_by_the_fires_id(api: Api, database_url: str) -> None:
    created = api.created(paused=True)
    fire = post(api, created, "trigger").json()["triggered_fire_id"]
    refused(
        api.client.post(f"/fires/{fire}/redrive"),
        f"Fire '{fire}' is planned; only failed, missed and cancelled fires can be redriven.",
    )
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update fires set state = 'missed', reason = 'stale', finished_at = now()"
        )
    found = api.client.post(f"/fires/{fire}/redrive")
    assert found.status_code == 200, found.text
    assert (found.json()["state"], found.json()["idempotency_key"]) == ("planned", f"{fire}#r1")
    assert api.client.post("/fires/no-such/redrive").status_code == 404


def test_every_verb_works_by_name_where_the_contract_has_it(api: Api) -> None:
    created = api.created()
    at = f"{api.url}/name/hourly"
    assert api.client.patch(at, json={"description": "d"}).json()["id"] == created["id"]
    assert api.client.post(f"{at}/pause", json={"note": "n"}).json()["state"] == "PAUSED"
    assert api.client.post(f"{at}/resume").json()["state"] == "ACTIVE"
    assert api.client.post(f"{at}/trigger").json()["triggered_fire_id"]
    renamed = api.client.patch(at, json={"name": "renamed"}).json()
    assert (renamed["id"], renamed["name"]) == (created["id"], "renamed")
    gone = api.client.delete(f"{api.url}/name/renamed").json()
    assert gone == {
        "id": created["id"],
        "message": "Run schedule 'renamed' deleted successfully",
    }


def test_what_is_absent_is_404_in_the_contracts_words(api: Api) -> None:
    for handle, path in (("nope", "/nope"), ("nope", "/name/nope")):
        expected = {
            "message": f"Run schedule '{handle}' for agent '{api.agent_id}' does not exist.",
            "code": 404,
            "data": None,
        }
        for verb in ("pause", "resume", "trigger"):
            assert api.client.post(f"{api.url}{path}/{verb}").json() == expected
        assert api.client.patch(f"{api.url}{path}", json={}).json() == expected
        assert api.client.delete(f"{api.url}{path}").json() == expected
    body = {"scheduled_time": "2090-01-01T00:00:00Z"}
    assert api.client.post(f"{api.url}/nope/skip", json=body).status_code == 404
    assert api.client.put(f"{api.url}/nope", json={}).json() == {"detail": "Method Not Allowed"}
