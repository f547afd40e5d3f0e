"""Schedules over HTTP: the Agentex contract's statuses, bodies and texts, and our fields on top."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.api.factories import Api, agent_body

SCHEDULE_KEYS = {
    "id",
    "agent_id",
    "name",
    "description",
    "cron_expression",
    "interval_seconds",
    "timezone",
    "start_at",
    "end_at",
    "paused",
    "task_params",
    "task_metadata",
    "initial_input",
    "initial_input_method",
    "creator_principal",
    "created_at",
    "updated_at",
    "state",
    "next_action_times",
    "live_data_available",
    "skipped_action_times",
    "last_action_time",
    "num_actions_taken",
    "recent_fires",
    "running_count",
    "interval_phase_seconds",
    "fire_at",
    "cron_day_match",
    "exclude_cron",
    "dst_gap",
    "dst_fold",
    "jitter_seconds",
    "version",
    "catchup_policy",
    "catchup_window_seconds",
    "max_fires",
    "pause_after_failures",
    "overlap_policy",
    "overlap_scope",
    "overlap_task_timeout_seconds",
    "delivery_guarantee",
}
NOBODY = {
    "principal_type": None,
    "user_id": None,
    "service_account_id": None,
    "account_id": None,
}
NOT_LIVE: dict[str, Any] = {
    "next_action_times": [],
    "skipped_action_times": [],
    "last_action_time": None,
    "num_actions_taken": 0,
    "live_data_available": None,
}


def _instant(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def test_creating_answers_200_with_every_key_and_the_defaults(api: Api) -> None:
    response = api.create()

    assert response.status_code == 200
    body = response.json()
    assert set(body) == SCHEDULE_KEYS
    assert body["initial_input"] == {"type": "text", "author": "user", "content": "hi"}
    assert body["initial_input_method"] == "event/send"
    assert body["creator_principal"] == NOBODY
    assert (body["timezone"], body["paused"], body["state"]) == ("UTC", False, "ACTIVE")
    assert body["created_at"] == body["updated_at"]
    assert (body["live_data_available"], body["num_actions_taken"]) == (True, 0)
    assert (body["version"], body["catchup_policy"]) == (1, "latest")
    assert (body["catchup_window_seconds"], body["max_fires"]) == (3600, None)
    assert body["pause_after_failures"] is None


def test_what_was_created_is_what_is_shown_by_id_by_name_and_in_the_list(api: Api) -> None:
    created = api.created()

    assert api.client.get(f"{api.url}/{created['id']}").json() == created
    assert api.client.get(f"{api.url}/name/hourly").json() == created
    listed = api.client.get(f"{api.url}?include_live=true").json()
    assert listed == {"run_schedules": [created], "total": 1}


def test_every_field_of_a_cadence_is_stored_and_echoed(api: Api) -> None:
    cadence = {
        "cron_expression": "30 2 1,15 * sun",
        "timezone": "Europe/Berlin",
        "cron_day_match": "all",
        "exclude_cron": ["* * 25 12 *", "0-29 2 * * *"],
        "dst_gap": "skip",
        "dst_fold": "both",
        "jitter_seconds": 90,
        "start_at": "2026-01-01T00:00:00Z",
        "end_at": "2090-01-01T00:00:00Z",
    }
    created = api.created(**cadence)
    assert created.items() >= cadence.items()
    assert api.client.get(f"{api.url}/{created['id']}").json().items() >= cadence.items()


def test_an_interval_with_a_phase_is_aligned_to_the_epoch(api: Api) -> None:
    created = api.created(interval_seconds=3600, interval_phase_seconds=600)
    times = [_instant(text) for text in created["next_action_times"]]
    assert len(times) == 10
    assert {(at.minute, at.second) for at in times} == {(10, 0)}


def test_a_single_instant_is_one_action_and_then_nothing(api: Api) -> None:
    created = api.created(fire_at="2090-06-24T11:00:00+02:00")
    assert created["fire_at"] == "2090-06-24T09:00:00Z"
    assert created["next_action_times"] == ["2090-06-24T09:00:00Z"]


def test_a_naive_time_is_taken_as_utc(api: Api) -> None:
    assert api.created(start_at="2090-01-01T00:00:00")["start_at"] == "2090-01-01T00:00:00Z"


def test_unknown_fields_are_ignored(api: Api) -> None:
    assert "surprise" not in api.created(surprise={"a": 1})


def test_the_input_method_follows_the_agents_type(api: Api) -> None:
    api.client.post("/agents/register", json=agent_body(acp_type="sync"))
    assert api.created()["initial_input_method"] == "message/send"


def test_a_paused_schedule_has_no_next_times_and_no_clock(api: Api, database_url: str) -> None:
    created = api.created(paused=True, interval_seconds=1)
    assert (created["state"], created["next_action_times"]) == ("PAUSED", [])
    assert created["live_data_available"] is True
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select next_due_at from schedule_clock").fetchone() == (None,)
        assert connection.execute("select count(*) from fires").fetchone() == (0,)


def test_what_is_due_soon_is_planned_at_once_and_still_counts_as_next(api: Api) -> None:
    """Planning runs up to 90 s ahead; nobody must see a hole where the planned fires are."""
    created = api.created(interval_seconds=10)
    times = [_instant(text) for text in created["next_action_times"]]
    assert len(times) == 10
    assert {later - at for at, later in itertools.pairwise(times)} == {timedelta(seconds=10)}
    fires = api.client.get(f"{api.url}/{created['id']}/fires").json()["fires"]
    assert {fire["state"] for fire in fires} == {"planned"}
    assert _instant(fires[-1]["nominal_at"]) == times[0]


def test_next_times_leave_out_skipped_ones_which_are_listed_beside(
    api: Api, database_url: str
) -> None:
    created = api.created()
    skipped = created["next_action_times"][1]
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into schedule_skips values (%s, %s)", (created["id"], skipped))

    shown = api.client.get(f"{api.url}/{created['id']}").json()
    assert skipped not in shown["next_action_times"]
    assert len(shown["next_action_times"]) == 10
    assert shown["skipped_action_times"] == [skipped]


def test_a_clock_that_stands_still_shows_no_past_times(api: Api, database_url: str) -> None:
    created = api.created(interval_seconds=60, jitter_seconds=0)
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from fires")
        connection.execute(
            "update schedule_clock set next_nominal_at = '2020-01-01', next_due_at = '2020-01-01'"
        )
    shown = api.client.get(f"{api.url}/{created['id']}").json()
    assert len(shown["next_action_times"]) == 10
    assert _instant(shown["next_action_times"][0]) > datetime.now(UTC) - timedelta(seconds=5)


def test_the_list_is_newest_first_and_plain_unless_live_data_is_asked_for(api: Api) -> None:
    names = ["a", "b", "c"]
    for name in names:
        api.created(name=name)

    listed = api.client.get(f"{api.url}?limit=2").json()
    assert listed["total"] == 2
    assert [row["name"] for row in listed["run_schedules"]] == ["c", "b"]
    for row in listed["run_schedules"]:
        assert row.items() >= NOT_LIVE.items()


def test_only_the_first_200_rows_carry_live_data(api: Api, database_url: str) -> None:
    created = api.created()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            insert into agent_run_schedules (id, agent_id, name, interval_seconds, initial_input,
                                             created_at)
            select 'n' || n, agent_id, 'n' || n, 3600, initial_input,
                   created_at - make_interval(secs => n)
            from agent_run_schedules, generate_series(1, 204) n
            """
        )
        connection.execute(
            """
            insert into schedule_clock (schedule_id, next_nominal_at, next_due_at, tzdata_version)
            select id, '2090-01-01', '2090-01-01', '' from agent_run_schedules where id <> %s
            """,
            (created["id"],),
        )
    rows = api.client.get(f"{api.url}?include_live=true&limit=1000").json()["run_schedules"]
    assert len(rows) == 205
    assert all(row["live_data_available"] is True for row in rows[:200])
    assert all(row["live_data_available"] is None for row in rows[200:])


def test_zone_rules_that_no_longer_know_a_zone_do_not_hide_the_schedule(
    api: Api, database_url: str
) -> None:
    created = api.created(cron_expression="0 9 * * *")
    with psycopg.connect(database_url) as connection:
        connection.execute("update agent_run_schedules set timezone = 'Atlantis/Capital'")
    shown = api.client.get(f"{api.url}/{created['id']}").json()
    assert (shown["live_data_available"], shown["next_action_times"]) == (False, [])


@pytest.mark.parametrize("by_name", [False, True])
def test_deleting_answers_with_the_handle_that_was_used_and_frees_the_name(
    api: Api, by_name: bool
) -> None:
    created = api.created()
    handle = "hourly" if by_name else created["id"]
    path = f"{api.url}/name/hourly" if by_name else f"{api.url}/{created['id']}"

    response = api.client.delete(path)
    assert response.status_code == 200
    assert response.json() == {
        "id": created["id"],
        "message": f"Run schedule '{handle}' deleted successfully",
    }
    assert api.client.delete(path).status_code == 404
    assert api.client.get(path).status_code == 404
    assert api.client.get(api.url).json() == {"run_schedules": [], "total": 0}
    assert api.created()["id"] != created["id"]


def test_a_name_that_is_taken_is_refused_in_the_contracts_words(api: Api) -> None:
    api.created()
    response = api.create()
    assert response.status_code == 400
    assert response.json() == {
        "message": f"Run schedule 'hourly' already exists for agent '{api.agent_id}'",
        "code": 400,
        "data": None,
    }


def test_the_same_name_is_free_for_another_agent(api: Api) -> None:
    api.created()
    other = api.client.post("/agents/register", json=agent_body(name="other")).json()["id"]
    assert Api(client=api.client, agent_id=other).create().status_code == 200


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_agent_is_not_found(api: Api, method: str) -> None:
    unknown = Api(client=api.client, agent_id="nobody")
    response = unknown.create() if method == "post" else api.client.get(unknown.url)
    assert response.status_code == 404
    assert response.json() == {
        "message": "Item with id 'nobody' does not exist.",
        "code": 404,
        "data": None,
    }


@pytest.mark.parametrize(
    ("method", "path", "handle"),
    [
        ("GET", "/absent", "absent"),
        ("GET", "/name/absent", "absent"),
        ("GET", "/absent/fires", "absent"),
        ("GET", "/absent/occurrences", "absent"),
        ("DELETE", "/absent", "absent"),
        ("DELETE", "/name/absent", "absent"),
        ("GET", "/%00", "\N{REPLACEMENT CHARACTER}"),
        ("DELETE", "/%FF%FE", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
def test_an_absent_schedule_is_not_found(api: Api, method: str, path: str, handle: str) -> None:
    response = api.client.request(method, api.url + path)
    assert response.status_code == 404
    assert response.json() == {
        "message": f"Run schedule '{handle}' for agent '{api.agent_id}' does not exist.",
        "code": 404,
        "data": None,
    }


def test_another_agents_schedule_is_absent(api: Api) -> None:
    created = api.created()
    other = api.client.post("/agents/register", json=agent_body(name="other")).json()["id"]
    for method in ("GET", "DELETE"):
        response = api.client.request(method, f"/agents/{other}/schedules/{created['id']}")
        assert response.status_code == 404
        assert response.json()["message"] == (
            f"Run schedule '{created['id']}' for agent '{other}' does not exist."
        )


def test_unknown_paths_and_methods_answer_as_the_framework_does(api: Api) -> None:
    created = api.created()
    put = api.client.put(f"{api.url}/{created['id']}", json={})
    assert (put.status_code, put.json()) == (405, {"detail": "Method Not Allowed"})
    nowhere = api.client.get("/nowhere")
    assert (nowhere.status_code, nowhere.json()) == (404, {"detail": "Not Found"})
