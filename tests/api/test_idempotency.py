"""A repeated request gets the first answer, and happens once: also over a connection that broke."""

import json
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import agentex
import httpx
import psycopg
import pytest
from agentex import Agentex
from fastapi import FastAPI

from schedules_pipeline.services.once import Attempt, answer_once, do_once
from schedules_pipeline.services.store_port import Store
from schedules_pipeline.services.stored import Answer
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.api.factories import Api, agent_body, schedule_body
from tests.ledger import a_schedule, one, query

ATTEMPT = Attempt(scope="me", key="k", fingerprint="f")
DONE = Answer(status=200, etag='"1"', body="{}")
OLD = "update idempotency_keys set created_at = created_at - interval '25 hours'"


def _post(api: Api, path: str, key: str, **options: Any) -> httpx.Response:
    headers = {"idempotency-key": key, **options.pop("headers", {})}
    return api.client.post(path, headers=headers, **options)


def _manual_fires(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        ((found,),) = connection.execute("select count(*) from fires where trigger_type = 'manual'")
        return int(found)


def test_a_trigger_retried_after_a_dropped_connection_gets_the_first_answer_and_one_fire(
    api: Api, base_url: str, database_url: str
) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    path = f"{api.url}/{schedule['id']}/trigger"
    where = urlsplit(base_url)
    for number in range(10):
        request = (
            f"POST {path} HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-length: 0\r\n"
            f"idempotency-key: drop-{number}\r\n\r\n"
        )
        # Gone before a byte of the answer is read: a little later each time.
        with socket.create_connection((where.hostname or "", where.port or 0)) as connection:
            connection.sendall(request.encode())
            time.sleep(number * 0.002)
        first = _post(api, path, f"drop-{number}")
        again = _post(api, path, f"drop-{number}")
        assert first.status_code == again.status_code == 200, first.text
        assert first.content == again.content
    assert _manual_fires(database_url) == 10


def test_twenty_at_once_under_one_key_are_one_fire_and_one_answer(
    api: Api, database_url: str
) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    path = f"{api.url}/{schedule['id']}/trigger"
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: _post(api, path, "same"), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers["etag"] for answer in answers} == {f'"{schedule["version"]}"'}
    assert _manual_fires(database_url) == 1


def test_a_create_that_is_repeated_shows_the_same_schedule(api: Api) -> None:
    body = schedule_body()
    first, again = (_post(api, api.url, "create-1", json=body) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert (first.content, first.headers["etag"]) == (again.content, '"1"')
    assert api.client.get(api.url).json()["total"] == 1


def test_the_same_key_for_another_request_is_refused_by_name(api: Api) -> None:
    assert _post(api, api.url, "taken", json=schedule_body()).status_code == 200
    for path, body in ((api.url, schedule_body(name="other")), (f"{api.url}?x=1", schedule_body())):
        response = _post(api, path, "taken", json=body)
        assert response.status_code == 422
        assert response.json()["message"] == (
            "Idempotency-Key: 'taken' was used for another request in the last 24 hours; a new "
            "request takes a new key"
        )


def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    api.created()
    assert _post(api, api.url, "again", json=schedule_body()).status_code == 400
    assert _post(api, api.url, "again", json=schedule_body(name="free")).status_code == 200


def test_after_a_day_the_key_is_free_and_old_ones_are_forgotten(
    api: Api, database_url: str
) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    path = f"{api.url}/{schedule['id']}/trigger"
    for key in ("a", "b", "c"):
        _post(api, path, key)
    with psycopg.connect(database_url) as connection:
        connection.execute(OLD)
    assert _post(api, path, "a").status_code == 200
    assert _manual_fires(database_url) == 4
    with psycopg.connect(database_url) as connection:
        keys = connection.execute("select key from idempotency_keys").fetchall()
    assert keys == [("a",)]


@pytest.mark.parametrize("key", ["", "with blank", "k" * 256, "käse"])
def test_a_key_that_cannot_be_one_is_refused(refusing_api: Api, key: str) -> None:
    response = refusing_api.client.post(
        refusing_api.url, json=schedule_body(), headers={b"idempotency-key": key.encode()}
    )
    assert response.status_code == 422
    assert response.json()["message"].startswith("Idempotency-Key: ")


def test_a_repetition_while_the_first_is_under_way_is_told_to_come_again(
    api: Api, database_url: str
) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    path = f"{api.url}/{schedule['id']}/trigger"
    _post(api, path, "slow")
    with psycopg.connect(database_url) as connection:
        connection.execute("update idempotency_keys set created_at = created_at")
        connection.execute("delete from idempotency_keys")
        response = _post(api, path, "slow")
    assert (response.status_code, response.headers["retry-after"]) == (409, "1")
    assert response.json()["message"] == (
        "Another request with this Idempotency-Key is being worked on; repeat yours in a second."
    )


def test_the_published_client_repeats_a_trigger_under_its_key(
    api: Api, base_url: str, database_url: str
) -> None:
    made = api.created(fire_at="2090-01-01T00:00:00Z")
    with Agentex(base_url=base_url, api_key="x", max_retries=0) as client:
        answers = [
            client.agents.schedules.trigger(
                made["id"],
                agent_id=api.agent_id,
                extra_headers={"Idempotency-Key": "from-the-client"},
            )
            for _ in range(3)
        ]
        with pytest.raises(agentex.UnprocessableEntityError, match="another request"):
            client.agents.schedules.pause(
                made["id"],
                agent_id=api.agent_id,
                extra_headers={"Idempotency-Key": "from-the-client"},
            )
    assert len({answer.to_json() for answer in answers}) == 1
    assert _manual_fires(database_url) == 1


def test_every_post_takes_a_key_and_says_so(app: FastAPI) -> None:
    posts = [methods["post"] for methods in app.openapi()["paths"].values() if "post" in methods]
    assert posts
    for operation in posts:
        named = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert "Idempotency-Key" in named, operation["operationId"]
        assert "409" in operation["responses"]


def test_agents_and_previews_are_repeated_word_for_word(client: httpx.Client) -> None:
    for path, body in (
        ("/agents/register", agent_body()),
        ("/schedules/preview", {"interval_seconds": 1, "count": 2}),
    ):
        headers = {"idempotency-key": path}
        first = client.post(path, json=body, headers=headers)
        again = client.post(path, json=body, headers=headers)
        assert (first.status_code, first.content) == (200, again.content)
        assert json.loads(first.content) == again.json()


def test_an_answer_under_a_key_has_the_form_of_one_without(api: Api) -> None:
    made = api.created(trigger_immediately=True)
    (recent,) = made["recent_fires"]
    assert (recent["trigger_type"], recent["state"]) == ("manual", "planned")
    path = f"{api.url}/{made['id']}"
    range_ = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T03:00:00Z", "dry_run": True}
    for act, body in (("backfill", range_), ("pause", {"note": "n"})):
        plain = api.client.post(f"{path}/{act}", json=body)
        keyed = _post(api, f"{path}/{act}", act, json=body)
        assert plain.status_code == keyed.status_code == 200, keyed.text
        changes = {"version", "updated_at"}
        assert list(plain.json()) == list(keyed.json())
        for name in plain.json().keys() - changes:
            assert plain.json()[name] == keyed.json()[name]
        assert plain.headers["content-type"] == keyed.headers["content-type"]


def test_whoever_dies_between_the_deed_and_its_answer_has_done_nothing(
    store: PostgresStore,
) -> None:
    schedule = a_schedule(store, stopped=True)

    def die(joined: Store) -> Answer:
        Triggers(joined).trigger(schedule.agent_id, schedule.id)
        raise KeyboardInterrupt

    def live(joined: Store) -> Answer:
        Triggers(joined).trigger(schedule.agent_id, schedule.id)
        return DONE

    with pytest.raises(KeyboardInterrupt):
        do_once(store, ATTEMPT, die)
    assert one(store, "select count(*) from fires") == 0
    assert one(store, "select count(*) from idempotency_keys") == 0
    assert do_once(store, ATTEMPT, live) == do_once(store, ATTEMPT, live) == DONE
    assert one(store, "select count(*) from fires") == 1


def test_a_key_is_its_principals_own(store: PostgresStore) -> None:
    said = []
    for scope in ("me", "you", "me"):
        attempt = Attempt(scope=scope, key="k", fingerprint=scope)
        do_once(store, attempt, lambda _: said.append(1) or DONE)  # type: ignore[func-returns-value]
    assert len(said) == 2


def test_work_in_many_transactions_answers_what_was_kept_first(store: PostgresStore) -> None:
    answers = [Answer(status=200, etag=None, body=str(number)) for number in range(3)]

    def meanwhile(_: Store) -> Answer:
        answer_once(store, ATTEMPT, lambda _: answers[0])
        return answers[1]

    assert answer_once(store, ATTEMPT, meanwhile) == answers[0]
    assert answer_once(store, ATTEMPT, lambda _: answers[2]) == answers[0]
    rows: Sequence[Any] = query(store, "select status, body from idempotency_keys")
    assert [(row.status, row.body) for row in rows] == [(200, "0")]
