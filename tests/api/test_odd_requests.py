"""What can be wrong with a request before its fields are read: bytes, sizes, headers, paths."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from schedules_pipeline.api.json_guard import MAX_DEPTH
from tests.api.factories import Api, schedule_body
from tests.api.test_bad_input import LEAKS

JSON = {"content-type": "application/json"}
TOO_LARGE = "The request's body is larger than 1,048,576 bytes."


def _post(api: Api, content: Any, **headers: str) -> httpx.Response:
    return api.client.post(api.url, content=content, headers=JSON | headers)


def _nested(depth: int) -> bytes:
    """A valid schedule with an unknown field, so many levels deep in all."""
    raw = json.dumps(schedule_body(unknown=7))
    return raw.replace("7", "[" * (depth - 1) + "]" * (depth - 1)).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_nested(MAX_DEPTH + 1), "body: is nested more than 64 deep; flatten it"),
        (
            b'{"name": "a", "name": "b"}',
            'body: has the key "name" twice; give each key once',
        ),
        (
            b'{"task_params": {"a": [{"\\u0061\\n": 1, "a\\n": 2}]}}',
            'body: has the key "a\\n" twice; give each key once',
        ),
        (
            b'{"\\ud800": 1, "\\ud800": 2}',
            'body: has the key "\\ud800" twice; give each key once',
        ),
        (b"{'name': 1}", "body: is not JSON: Expecting property name enclosed in double quotes"),
        (b'{"name": 1} {}', "body: is not JSON: Extra data at character 12"),
        (b'{"name": "a', "body: is not JSON: Unterminated string starting at at character 9"),
        (b'\xef\xbb\xbf{"name": 1}', "body: is not JSON: "),
        (json.dumps({"name": 1}).encode("utf-16"), "body: is not JSON that can be read; check"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "body: is not JSON that can be read; check its encoding"),
        (b"7", "body: send one JSON object with the header content-type: application/json"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_a_body_without_one_reading_is_refused(
    refusing_api: Api, content: bytes, message: str
) -> None:
    answer = _post(refusing_api, content)
    assert answer.status_code == 422, answer.text
    assert answer.json()["message"].startswith(message)
    assert answer.headers["x-request-id"]


def test_a_large_body_is_read_no_other_way(api: Api) -> None:
    keys = [f'"k{number}": 1' for number in range(50_000)]
    refused = _post(api, f"{{{', '.join([*keys, keys[-1]])}}}")
    assert refused.json()["message"] == 'body: has the key "k49999" twice; give each key once'
    raw = json.dumps(schedule_body())
    assert _post(api, f"{raw[:-1]}, {', '.join(keys)}}}").status_code == 200


def test_a_body_may_be_as_deep_as_that_and_hold_brackets_in_its_texts(api: Api) -> None:
    assert _post(api, _nested(MAX_DEPTH)).status_code == 200
    assert api.create(name="b", description='["{' * 100 + '\\"').status_code == 200


def test_numbers_at_the_end_of_their_range_are_kept_or_refused_by_name(api: Api) -> None:
    params = {"largest": 1e308, "smallest": 5e-324, "integer": 2**63, "negative": -(2**63) - 1}
    assert api.created(task_params=params)["task_params"] == params
    for number, said in {
        "1e308": "Input should be less than or equal to 2147483647",
        str(2**63): "Input should be less than or equal to 2147483647",
        "-1e308": "Input should be greater than or equal to 1",
        "1e-308": "must be a whole number",
        "NaN": "must be a whole number",
        "-1e400": "must be a whole number",
    }.items():
        raw = json.dumps(schedule_body(interval_seconds=7)).replace("7", number)
        answer = _post(api, raw)
        assert answer.status_code == 422, (number, answer.text)
        assert answer.json()["message"] == f"interval_seconds: {said}"


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("2030-01-01T00:00:00", "scheduled_time: must carry an offset, such as 'Z' or '+02:00'"),
        ("0001-01-01T00:00:00Z", "scheduled_time: must lie in the years 2000 to 2100"),
        ("9999-12-31T23:59:59Z", "scheduled_time: must lie in the years 2000 to 2100"),
        ("2030-02-30T00:00:00Z", "scheduled_time: Input should be a valid datetime"),
        ("٢٠٣٠-01-01T00:00:00Z", "scheduled_time: must be an ISO 8601 date and time"),
    ],
)
def test_an_instant_is_refused_by_name(api: Api, time: str, message: str) -> None:
    place = f"{api.url}/{api.created()['id']}/skip"
    answer = api.client.post(place, json={"scheduled_time": time})
    assert answer.status_code == 422
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize("chunked", [False, True])
def test_ten_megabytes_are_answered_and_not_cut_off(refusing_api: Api, chunked: bool) -> None:
    megabyte = b"x" * 1_000_000
    for _ in range(3):
        content: Any = iter([megabyte] * 10) if chunked else megabyte * 10
        answer = _post(refusing_api, content)
        assert (answer.status_code, answer.json()["message"]) == (413, TOO_LARGE)


def test_a_small_body_may_come_in_chunks_without_its_length(api: Api) -> None:
    raw = json.dumps(schedule_body()).encode()
    answer = _post(api, iter([raw[:7], raw[7:20], raw[20:]]))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("head", "status", "text"),
    [
        ("content-length: 999999999999999", 413, TOO_LARGE),
        ("content-length: 999999999999999\r\nexpect: 100-continue", 413, TOO_LARGE),
        ("content-length: -1", 400, "Invalid HTTP request received."),
        ("content-length: many", 400, "Invalid HTTP request received."),
        ("content-length: 1\r\ncontent-length: 2", 400, "Invalid HTTP request received."),
        ("transfer-encoding: chunked\r\ncontent-length: 5", 400, "Invalid HTTP request received."),
        ("bad header", 400, "Invalid HTTP request received."),
        ("x-odd: a\0b", 400, "Invalid HTTP request received."),
    ],
)
def test_a_head_that_makes_no_sense_is_answered_at_once(
    refusing_api: Api, base_url: str, head: str, status: int, text: str
) -> None:
    answer = _raw(base_url, f"POST {refusing_api.url} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} "), answer
    assert text in answer
    assert not LEAKS.search(answer)


@pytest.mark.parametrize(
    "request_line",
    ["GARBAGE", "GET", "GET /\x00 HTTP/1.1", "GET /agents HTTP/9.9", "GET /\xe4 HTTP/1.1"],
)
def test_what_is_no_request_is_answered_with_400(
    refusing_api: Api, base_url: str, request_line: str
) -> None:
    answer = _raw(base_url, f"{request_line}\r\nhost: x\r\n\r\n")
    assert answer.startswith("HTTP/1.1 400 "), answer
    assert not LEAKS.search(answer)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]
)
def test_another_kind_of_content_is_told_which_one_to_send(refusing_api: Api, kind: str) -> None:
    raw = json.dumps(schedule_body())
    answer = refusing_api.client.post(
        refusing_api.url, content=raw, headers={"content-type": kind} if kind else {}
    )
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("body: send one JSON object with the header")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"]
)
def test_every_name_of_json_will_do_and_is_looked_at(api: Api, kind: str) -> None:
    twice = '{"name": "a", "name": "b"}'
    refused = api.client.post(api.url, content=twice, headers={"content-type": kind})
    assert "twice" in refused.json()["message"]
    raw = json.dumps(schedule_body())
    taken = api.client.post(api.url, content=raw, headers={"content-type": kind})
    assert taken.status_code == 200, taken.text


@pytest.mark.parametrize(
    "handle", ["%00", "a%00b", "%FF%FE", "%ED%A0%80", "%2E%2E", "x" * 10_000, "%F0%9F%98%80", "'--"]
)
def test_a_handle_that_can_be_nobodys_is_not_found(refusing_api: Api, handle: str) -> None:
    for path in (
        f"/agents/{handle}",
        f"/agents/{handle}/schedules",
        f"{refusing_api.url}/{handle}",
        f"{refusing_api.url}/name/{handle}",
        f"/fires/{handle}",
        f"/tasks/{handle}",
        f"/backfills/{handle}",
    ):
        answer = refusing_api.client.get(path)
        assert answer.status_code == 404, (path, answer.text)
        assert answer.json()["message"]
        assert not LEAKS.search(answer.text), answer.text


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("/schedules?text=%00", 422, "text: holds a NUL character"),
        ("/schedules?text=%25_%5C", 200, '"schedules":[]'),
        ("/schedules?agent_id=%00", 200, '"schedules":[]'),
        ("/schedules?name=%FF", 200, '"schedules":[]'),
        ("/schedules?limit=99999999999999999999", 422, "limit: Input should be less than"),
        ("/schedules?limit=1&limit=many", 422, "limit: Input should be a valid integer"),
        ("/agents?page_number=9223372036854775808", 422, "page_number: Input should be less"),
        ("/fires?from=0001-01-01T00:00:00Z", 422, "from: must lie in the years 2000 to 2100"),
        ("/fires?state=nonsense", 422, "state.0: Input should be "),
        ("/fires?cursor=" + "A" * 1_001, 422, "cursor: String should have at most 1000"),
        ("/fires?schedule_id=%00", 200, '"fires":[]'),
    ],
)
def test_a_query_is_answered_or_refused_by_name(
    refusing_api: Api, query: str, status: int, text: str
) -> None:
    answer = refusing_api.client.get(query)
    assert answer.status_code == status, answer.text
    assert text in answer.text.replace(" ", "" if status == 200 else " ")


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("idempotency-key", "x" * 256, 422),
        ("idempotency-key", "with blank", 422),
        ("idempotency-key", "ünïcode", 422),
        ("if-match", '"' + "x" * 10_000 + '"', 412),
        ("if-match", "\xff", 400),
        ("x-request-id", "ünïcode", 200),
        ("accept", "application/xml", 200),
        ("content-encoding", "gzip", 200),
    ],
)
def test_a_header_is_understood_refused_or_ignored(
    api: Api, name: str, value: str, status: int
) -> None:
    place = f"{api.url}/{api.created()['id']}/pause"
    answer = api.client.post(place, headers={name.encode(): value.encode("latin-1")})
    assert answer.status_code == status, answer.text
    assert not LEAKS.search(answer.text) or status == 200


def _raw(base_url: str, request: str) -> str:
    """The whole answer to bytes of our own, until it hangs up."""
    where = urlsplit(base_url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=10) as opened:
        opened.sendall(request.encode("latin-1"))
        answer = b""
        while more := opened.recv(65_536):
            answer += more
    return answer.decode("latin-1")
