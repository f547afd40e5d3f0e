"""What makes no sense is refused with 422, by field and with the fix; nothing of us leaks out."""

import json
import random
import re
from typing import Any

import httpx
import pytest

from tests.api.factories import Api, schedule_body

LEAKS = re.compile(
    r"Traceback|\.py\b|psycopg|sqlalchemy|select |insert |schedules_pipeline/|/usr/|site-packages"
)

BOTH = {"cron_expression": "0 9 * * *", "interval_seconds": 60}
NO_CADENCE = {"interval_seconds": None}
MAX = "2147483647"

CASES: list[tuple[dict[str, Any], str]] = [
    (BOTH, "interval_seconds: cannot stand beside cron_expression; give one of them"),
    (
        NO_CADENCE,
        "cron_expression: is missing; give cron_expression, interval_seconds or fire_at",
    ),
    ({"cron_expression": "61 * * * *"}, "cron_expression: minute '61' is not a value of 0-59"),
    ({"cron_expression": "* * *"}, "cron_expression: '* * *' has 3 fields: use 5"),
    ({"cron_expression": ""}, "cron_expression: is empty"),
    ({"cron_expression": "0 0 30 2 *"}, "cron_expression: '0 0 30 2 *' names a time that never"),
    ({"cron_expression": "0 9 * * *\0"}, "cron_expression: holds a NUL character"),
    ({"cron_expression": 5}, "cron_expression: Input should be a valid string"),
    ({"cron_expression": "* * * * * 2001"}, "cron_expression: never fires again"),
    (
        {"cron_expression": "0 9 * * *", "timezone": "Europe/Berln"},
        "timezone: 'Europe/Berln' is not an IANA time zone",
    ),
    ({"timezone": "../../etc/passwd"}, "timezone: '../../etc/passwd' is not an IANA time zone"),
    ({"timezone": None}, "timezone: "),
    ({"interval_seconds": 0}, "interval_seconds: Input should be greater than or equal to 1"),
    (
        {"interval_seconds": 2**31},
        f"interval_seconds: Input should be less than or equal to {MAX}",
    ),
    ({"interval_seconds": 10**100}, "interval_seconds: Input should be less than or equal"),
    ({"interval_seconds": -5}, "interval_seconds: "),
    ({"interval_seconds": 1.5}, "interval_seconds: "),
    ({"interval_seconds": True}, "interval_seconds: must be a whole number"),
    ({"interval_seconds": "60"}, "interval_seconds: must be a whole number"),
    ({"interval_phase_seconds": 3600}, "interval_phase_seconds: 3600 is not at least 0 and less"),
    ({"jitter_seconds": 10**6}, "jitter_seconds: "),
    ({"fire_at": "2001-01-01T00:00:00Z"}, "fire_at: 2001-01-01T00:00:00+00:00 is past"),
    ({"fire_at": 5}, "fire_at: must be an ISO 8601 date and time"),
    (
        {"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"},
        "end_at: 2030-01-01T00:00:00+00:00 is before start_at",
    ),
    ({"end_at": "2020-01-01T00:00:00Z"}, "interval_seconds: never fires again"),
    ({"start_at": "0001-01-01T00:00:00+14:00"}, "start_at: must lie in the years 2000 to 2100"),
    ({"end_at": "9999-12-31T23:59:59-14:00"}, "end_at: must lie in the years 2000 to 2100"),
    ({"start_at": "yesterday"}, "start_at: must be an ISO 8601 date and time"),
    ({"start_at": "2026-13-01T00:00:00Z"}, "start_at: "),
    ({"exclude_cron": ["nonsense"]}, "exclude_cron: "),
    ({"exclude_cron": ["* * * * *"]}, "interval_seconds: never fires again"),
    ({"exclude_cron": ["* * 1 1 *"] * 51}, "exclude_cron: "),
    ({"exclude_cron": "* * 1 1 *"}, "exclude_cron: "),
    ({"dst_gap": "explode"}, "dst_gap: "),
    ({"dst_fold": "explode"}, "dst_fold: "),
    ({"cron_day_match": "explode"}, "cron_day_match: "),
    ({"name": "No Capitals"}, "name: String should match pattern"),
    ({"name": "-edge"}, "name: "),
    ({"name": "trailing\n"}, "name: "),
    ({"name": "a" * 65}, "name: String should have at most 64 characters"),
    ({"name": "ünïcode"}, "name: "),
    ({"name": ""}, "name: "),
    ({"name": None}, "name: "),
    ({"description": "nul\0"}, "description: holds a NUL character"),
    ({"description": "d" * 10_001}, "description: String should have at most 10000 characters"),
    ({"paused": "perhaps"}, "paused: "),
    ({"initial_input": None}, "initial_input: "),
    ({"initial_input": {}}, "initial_input.content: Field required"),
    ({"initial_input": {"content": "a\0b"}}, "initial_input.content: holds a NUL"),
    ({"initial_input": {"content": "hi", "type": "video"}}, "initial_input.type: "),
    ({"initial_input": {"content": "hi", "author": "nobody"}}, "initial_input.author: "),
    ({"initial_input": {"content": "x" * 262_145}}, "initial_input.content: String should have"),
    ({"task_params": []}, "task_params: "),
    ({"task_params": {"a": {"b\0": 1}}}, "task_params: holds a NUL character"),
    ({"task_params": {"a": ["\0"]}}, "task_params: holds a NUL character"),
    ({"task_metadata": {"blob": "x" * 65_536}}, "task_metadata: is larger than 65,536 bytes"),
]

RAW: list[tuple[bytes, str]] = [
    (b"{", "body: is not JSON: Expecting property name"),
    (b"", "body: send one JSON object"),
    (b"null", "body: send one JSON object"),
    (b"[]", "body: send one JSON object"),
    (b'"text"', "body: send one JSON object"),
    (b'{"a": "\xff"}', "body: is not JSON that can be read"),
    (b'{"a":' * 100_000, "body: is nested more than 64 deep; flatten it"),
    (b'{"interval_seconds": ' + b"9" * 5_000 + b"}", "body: is not JSON that can be read"),
]


def _refusal(response: httpx.Response) -> str:
    """The message of a 422 in the contract's shape, with nothing of us in it."""
    assert response.status_code == 422, response.text
    body = response.json()
    assert body.keys() == {"status_code", "message", "data"}
    assert (body["status_code"], body["data"]) == (10422, None)
    message: str = body["message"]
    assert not LEAKS.search(message), message
    return message


@pytest.mark.parametrize(("changes", "message"), CASES, ids=lambda case: str(case)[:60])
def test_a_field_that_makes_no_sense_is_named(
    refusing_api: Api, changes: dict[str, Any], message: str
) -> None:
    assert _refusal(refusing_api.create(**changes)).startswith(message)
    assert refusing_api.client.get(refusing_api.url).json()["total"] == 0


@pytest.mark.parametrize(("content", "message"), RAW, ids=lambda case: str(case)[:40])
def test_a_body_that_is_no_json_object_is_refused(
    refusing_api: Api, content: bytes, message: str
) -> None:
    response = refusing_api.client.post(
        refusing_api.url, content=content, headers={"content-type": "application/json"}
    )
    assert _refusal(response).startswith(message)


def test_a_body_without_its_content_type_is_told_which_one_to_send(refusing_api: Api) -> None:
    response = refusing_api.client.post(refusing_api.url, content=json.dumps(schedule_body()))
    assert "content-type: application/json" in _refusal(response)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=many", "limit"),
        ("?include_live=perhaps", "include_live"),
        ("/{id}/fires?limit=0", "limit"),
        ("/{id}/fires?limit=1001", "limit"),
        ("/{id}/fires?cursor=nonsense", "cursor"),
        ("/{id}/fires?cursor=%00", "cursor"),
        ("/{id}/fires?cursor=%C3%A4", "cursor"),
        ("/{id}/fires?cursor=MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCB4", "cursor"),
        ("/{id}/occurrences?from=tomorrow", "from"),
        ("/{id}/occurrences?from=2030-01-02T00:00:00Z&to=2030-01-01T00:00:00Z", "to"),
        ("/{id}/occurrences?to=9999-01-01T00:00:00Z", "to"),
    ],
)
def test_a_query_that_makes_no_sense_is_named(api: Api, path: str, field: str) -> None:
    created = api.created()
    response = api.client.get(api.url + path.format(id=created["id"]))
    assert _refusal(response).startswith(f"{field}: ")


@pytest.mark.parametrize("field", ["description", "timezone", "name"])
def test_half_a_surrogate_pair_is_refused(refusing_api: Api, field: str) -> None:
    raw = json.dumps(schedule_body(**{field: "x"})).replace('"x"', '"\\ud800"')
    response = refusing_api.client.post(
        refusing_api.url, content=raw, headers={"content-type": "application/json"}
    )
    assert _refusal(response).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "value", ['"\\ud800"', '{"\\udfff": 1}', "NaN", "-Infinity", "1e999", "[" * 40 + "]" * 40]
)
def test_json_that_cannot_be_stored_is_refused(refusing_api: Api, value: str) -> None:
    raw = json.dumps(schedule_body(task_params={"a": 7})).replace("7", value)
    response = refusing_api.client.post(
        refusing_api.url, content=raw, headers={"content-type": "application/json"}
    )
    assert _refusal(response).startswith("task_params: ")


def test_json_at_the_limits_is_stored_as_it_came(api: Api) -> None:
    deep: Any = "leaf"
    for _ in range(30):
        deep = [deep]
    params = {"deep": deep, "big": 1e22, "int": 2**70, "small": -1.5, "text": "\N{GRINNING FACE}"}
    assert api.created(task_params=params)["task_params"] == params
    shown = api.client.get(f"{api.url}/name/hourly").json()["task_params"]
    assert shown == params


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_a_mebibyte_is_too_large(refusing_api: Api, chunked: bool) -> None:
    half = b"x" * 524_289
    content: Any = iter([half, half]) if chunked else half + half
    response = refusing_api.client.post(refusing_api.url, content=content)
    assert response.status_code == 413
    assert response.json() == {
        "message": "The request's body is larger than 1,048,576 bytes.",
        "code": 413,
        "data": None,
    }


def test_many_problems_are_all_named_at_once(refusing_api: Api) -> None:
    message = _refusal(refusing_api.create(name="NO", interval_seconds=0, paused=3))
    assert {part.partition(":")[0] for part in message.split("; ")} == {
        "name",
        "interval_seconds",
        "paused",
    }


ODDITIES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 1e308, "", "x", "\0", "0 0 * * *", "@every 1s",
    "2030-01-01T00:00:00Z", "\u202e", [], [None], ["* * * * *"], {}, {"content": ""},
    {"a": {"b": [1]}}, "Europe/Berlin", "both", "9" * 400,
]  # fmt: skip


def test_whatever_is_thrown_at_create_and_preview_no_answer_is_a_server_error(api: Api) -> None:
    dice = random.Random(4)
    fields = [
        "name", "description", "cron_expression", "interval_seconds", "interval_phase_seconds",
        "fire_at", "timezone", "cron_day_match", "exclude_cron", "dst_gap", "dst_fold", "start_at",
        "end_at", "jitter_seconds", "paused", "task_params", "task_metadata", "initial_input",
        "from", "count",
    ]  # fmt: skip
    for number in range(300):
        chosen = dice.sample(fields, dice.randint(1, 4))
        body = schedule_body(name=f"n{number}") | {field: dice.choice(ODDITIES) for field in chosen}
        path = dice.choice([api.url, "/schedules/preview"])
        response = api.client.post(path, json=body)
        assert response.status_code in (200, 400, 422), (body, response.text)
        assert not LEAKS.search(response.text) or response.status_code == 200, response.text
