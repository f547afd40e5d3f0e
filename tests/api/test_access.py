"""Who asks, and what is told to the provider: over the wire, case by case.

The matrix (`test_authorization_matrix`) has every route; here is what a route alone does not show.
"""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import uuid4

import agentex
import httpx
import pytest
from agentex import Agentex
from fastapi import APIRouter, FastAPI

from schedules_pipeline.access.throttling import MOST_PER_CREDENTIAL
from schedules_pipeline.api.access import Permitted, require_needs
from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.wiring import API_CONNECTIONS, Wiring
from tests.api.factories import agent_body, schedule_body
from tests.api.guarded import Things, a_key, guarded, some_things
from tests.factories import a_draft
from tests.ledger import query
from tests.provider import StubProvider


@pytest.fixture
def things(asked: Wiring) -> Things:
    return some_things(asked)


ANN = {"x-user": "ann"}


def owns(provider: StubProvider, things: Things, **principal: Any) -> None:
    """Ann may do everything with these, and sees those schedules."""
    operations = ("create", "read", "update", "delete", "execute", "cancel")
    kinds = ("agent", "schedule", "task")
    rights = [(kind, things.selector(kind), each) for kind in kinds for each in operations]
    provider.knows("ann", *rights, **principal)


# --- a route that says nothing --------------------------------------------------------------------


def test_a_route_that_nobody_has_said_the_need_of_makes_no_application() -> None:
    router = APIRouter()
    router.add_api_route("/secrets", lambda: {}, methods=["GET"])

    with pytest.raises(LookupError, match=r"^GET /secrets has no line in api/needs\.py$"):
        require_needs(router)


def test_a_list_that_forgets_to_filter_makes_no_application() -> None:
    forgets, filters = APIRouter(), APIRouter()
    forgets.add_api_route("/schedules", lambda: {}, methods=["GET"])

    @filters.get("/healthz")
    def healthz(only: Permitted) -> None: ...

    with pytest.raises(LookupError, match="GET /schedules: Among and Permitted go together"):
        require_needs(forgets)
    with pytest.raises(LookupError, match="GET /healthz: Among and Permitted go together"):
        require_needs(filters)


# --- api_key --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/healthz", "/readyz"])
def test_what_is_open_stays_so(path: str, keyed: Wiring, http: httpx.Client) -> None:
    assert http.get(path).status_code == 200


def test_who_is_nobody_learns_nothing_of_paths_bodies_and_agents(
    keyed: Wiring, http: httpx.Client
) -> None:
    """An agent may have any id: what is open is open as a whole path, for one method."""
    http.post("/agents/register", json=agent_body(agent_id="register"))
    http.post("/agents/register", json=agent_body(name="docs", agent_id="docs"))

    for method, path in (
        ("GET", "/nothing/here"),
        ("GET", "/agents/register"),
        ("GET", "/agents/register/schedules"),
        ("GET", "/docs/x"),
        ("POST", "/readyz"),
        ("GET", "/agents/../agents"),
    ):
        answer = http.request(method, path)
        assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"}), path
        assert len(answer.headers["x-request-id"]) == 32
    broken = http.post("/agents/register/schedules", content=b"{" * 2_000_000)
    assert (broken.status_code, broken.json()) == (401, {"detail": "Unauthorized"})


def test_whose_key_made_it_is_kept_and_nothing_of_the_key(
    keyed: Wiring, http: httpx.Client
) -> None:
    things = some_things(keyed)
    key = a_key(keyed, Role.EDITOR, "ci")
    url = f"/agents/{things.agent_id}/schedules"

    made = http.post(url, json=schedule_body(), headers=key).json()
    http.post(f"{url}/{made['id']}/pause", headers=a_key(keyed, Role.ADMIN, "ann"))

    whose = {"principal_type": "api_key", "user_id": "ci"}
    assert made["creator_principal"] == {**whose, "service_account_id": None, "account_id": None}
    kept = query(
        keyed.store,
        "select creator_principal from agent_run_schedules where id = :id",
        id=made["id"],
    )
    assert [row.creator_principal for row in kept] == [whose]
    changes = http.get(f"{url}/{made['id']}/history", headers=key).json()["changes"]
    assert [(c["operation"], c["actor"]["user_id"]) for c in changes] == [
        ("pause", "ann"),
        ("create", "ci"),
    ]


def test_a_revoked_key_is_nobodys_in_the_next_request(keyed: Wiring, http: httpx.Client) -> None:
    key = a_key(keyed, Role.VIEWER, "ci")
    assert http.get("/schedules", headers=key).status_code == 200

    keyed.keys.revoke_principal("ci")

    assert http.get("/schedules", headers=key).status_code == 401


def test_wrong_keys_again_and_again_are_429_and_the_client_knows_it(
    keyed: Wiring, http: httpx.Client, base_url: str
) -> None:
    good, agent_id = a_key(keyed, Role.VIEWER), some_things(keyed).agent_id
    with Agentex(base_url=base_url, api_key="sp_0123456789abcdef_old", max_retries=0) as old:
        for _ in range(MOST_PER_CREDENTIAL):
            with pytest.raises(agentex.AuthenticationError):
                old.agents.schedules.list(agent_id)
        with pytest.raises(agentex.RateLimitError) as refused:
            old.agents.schedules.list(agent_id)

    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    body = refused.value.response.json()
    assert body["code"] == 429
    assert body["message"].startswith("Too many requests with wrong credentials")
    assert http.get("/schedules", headers=good).status_code == 200


def test_an_idempotency_key_is_its_principals(keyed: Wiring, http: httpx.Client) -> None:
    things = some_things(keyed)
    url = f"/agents/{things.agent_id}/schedules/{things.schedule_id}/trigger"

    def trigger(key: dict[str, str]) -> str:
        answer = http.post(url, headers={**key, "Idempotency-Key": "same"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["triggered_fire_id"])

    ann, other = a_key(keyed, Role.EDITOR, "ann"), a_key(keyed, Role.EDITOR, "bob")
    anns_second_key = {"x-api-key": keyed.keys.create("ann", None, None).key}

    assert trigger(ann) == trigger(ann) == trigger(anns_second_key)
    assert trigger(ann) != trigger(other)


def test_no_secret_stands_in_a_log_or_an_error(
    keyed: Wiring, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = a_key(keyed, Role.VIEWER)
    secret = key["authorization"].rpartition("_")[2]
    agent_key = some_things(keyed).agent_key

    answers = [
        http.get("/schedules", headers=key),
        http.put("/clock", headers=key, json={"off": True}),
        http.get("/schedules", headers={"x-api-key": f"sp_0123456789abcdef_{secret}"}),
        http.get("/schedules", headers={"x-agent-api-key": agent_key}),
    ]

    assert [answer.status_code for answer in answers] == [200, 403, 401, 200]
    logs = "".join(
        f"{record.getMessage()} {vars(record)}"
        for record in caplog.records
        if record.name.startswith("schedules")
    )
    assert "/clock" in logs
    for text in (logs, *(answer.text for answer in answers)):
        assert secret not in text
        assert agent_key not in text


def test_registration_can_be_closed(app: FastAPI, database_url: str, http: httpx.Client) -> None:
    with guarded(app, database_url, auth="api_key", open_registration=False) as wiring:
        keys = {role: a_key(wiring, role) for role in Role}
        register = "/agents/register"

        assert http.post(register, json=agent_body()).status_code == 401
        denied = http.post(register, json=agent_body(), headers=keys[Role.EDITOR])
        made = http.post(register, json=agent_body(), headers=keys[Role.ADMIN])

        assert (denied.status_code, denied.json()["message"]) == (
            403,
            "The role 'editor' may not create agents: it takes 'admin'.",
        )
        assert made.status_code == 200
        own = {"x-agent-api-key": made.json()["agent_api_key"]}
        assert http.post(register, json=agent_body(), headers=own).status_code == 403


# --- agentex: what is made and deleted ------------------------------------------------------------


def create(http: httpx.Client, things: Things, **options: Any) -> httpx.Response:
    url = f"/agents/{things.agent_id}/schedules"
    return http.post(url, json=schedule_body(name="new"), headers={**ANN, **options})


def names(wiring: Wiring, things: Things) -> list[str]:
    """Of the agent's schedules, deleted ones too."""
    rows = query(
        wiring.store,
        "select name from agent_run_schedules where agent_id = :id and id <> :own",
        id=things.agent_id,
        own=things.schedule_id,
    )
    return [row.name for row in rows]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["plain", "keyed"])
@pytest.mark.parametrize(
    ("failing", "status", "told"),
    [
        ("register", 500, ["register"]),
        ("register", 403, ["register"]),
        ("grant", 503, ["register", "grant", "deregister"]),
        ("grant", 422, ["register", "grant", "deregister"]),
    ],
)
def test_a_schedule_that_the_provider_does_not_take_is_not_there(
    asked: Wiring,
    things: Things,
    provider: StubProvider,
    http: httpx.Client,
    failing: str,
    status: int,
    told: list[str],
    headers: dict[str, str],
) -> None:
    owns(provider, things)
    provider.answers[f"/v1/authz/{failing}"] = (status, b"")

    assert create(http, things, **headers).status_code == status

    assert [call[0] for call in provider.asked()] == ["authn", "check", *told]
    assert names(asked, things) == []
    provider.answers.clear()
    assert create(http, things, **headers).status_code == 200


def test_what_fails_here_after_the_grant_is_taken_back_there(
    asked: Wiring, things: Things, provider: StubProvider, http: httpx.Client
) -> None:
    """Another request takes the name while the provider is being told."""
    owns(provider, things)
    provider.before["/v1/authz/grant"] = lambda: asked.schedules.create(
        things.agent_id, a_draft(name="new"), {}
    )

    answer = create(http, things)

    assert answer.status_code == 400
    assert answer.json()["message"] == (
        f"Run schedule 'new' already exists for agent '{things.agent_id}'"
    )
    calls = provider.asked()
    assert [call[0] for call in calls[2:]] == ["register", "grant", "revoke", "deregister"]
    assert len({call[1] for call in calls[2:]}) == 1
    assert names(asked, things) == ["new"]


def test_what_makes_no_sense_is_not_even_announced(
    asked: Wiring, things: Things, provider: StubProvider, http: httpx.Client
) -> None:
    owns(provider, things)
    assert create(http, things).status_code == 200
    provider.asked()
    url = f"/agents/{things.agent_id}/schedules"

    taken = create(http, things)
    never = http.post(url, json=schedule_body(cron_expression="0 0 30 2 *"), headers=ANN)

    assert (taken.status_code, never.status_code) == (400, 422)
    assert [call[0] for call in provider.asked()] == ["check", "check"]


def test_whoever_has_no_name_makes_schedules_that_are_registered_for_nobody(
    asked: Wiring,
    things: Things,
    provider: StubProvider,
    http: httpx.Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider.principals["ann"] = {"principal_type": "user", "account_id": "7", "token": "secret"}
    provider.rights[""] = {("agent", things.agent_id, "update")}

    made = create(http, things)

    assert made.status_code == 200
    assert [call[0] for call in provider.asked()] == ["authn", "check"]
    assert "not registered" in caplog.text
    assert made.json()["creator_principal"] == {
        "principal_type": "user",
        "user_id": None,
        "service_account_id": None,
        "account_id": "7",
    }
    assert "secret" not in json.dumps(
        [
            dict(row._mapping)
            for row in query(asked.store, "select creator_principal from agent_run_schedules")
        ]
    ) + repr(query(asked.store, "select actor, after from schedule_changes"))


def test_a_deletion_stands_though_the_provider_cannot_be_told(
    asked: Wiring,
    things: Things,
    provider: StubProvider,
    http: httpx.Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owns(provider, things)
    provider.answers["/v1/authz/revoke"] = (500, b"")
    url = f"/agents/{things.agent_id}/schedules/{things.schedule_id}"

    assert http.delete(url, headers=ANN).status_code == 200

    assert [call[0] for call in provider.asked()] == ["authn", "check", "revoke", "deregister"]
    assert "was not told that this is gone" in caplog.text
    assert http.get(url, headers=ANN).json()["message"].startswith("Run schedule '")


# --- agentex: in between --------------------------------------------------------------------------


def test_a_name_stands_for_the_schedule_that_was_asked_about_whoever_has_it_by_now(
    asked: Wiring, things: Things, provider: StubProvider, http: httpx.Client
) -> None:
    owns(provider, things)
    name = things.values["name"]
    url = f"/agents/{things.agent_id}/schedules"
    others = asked.schedules.create(things.agent_id, a_draft(name="others"), {}).schedule

    def swap() -> None:
        for schedule_id, new in ((things.schedule_id, "mine"), (others.id, name)):
            query(
                asked.store,
                "update agent_run_schedules set name = :name where id = :id returning id",
                name=new,
                id=schedule_id,
            )

    provider.before["/v1/authz/check"] = swap
    answer = http.post(f"{url}/name/{name}/pause", headers=ANN)

    assert (answer.status_code, answer.json()["id"]) == (200, things.schedule_id)
    paused = query(asked.store, "select id from agent_run_schedules where paused")
    assert [row.id for row in paused] == [things.schedule_id]


def test_bulk_edits_leave_alone_what_is_anothers(
    asked: Wiring, things: Things, provider: StubProvider, http: httpx.Client
) -> None:
    owns(provider, things)
    other = some_things(asked)

    def paused() -> set[str]:
        return {
            row.id for row in query(asked.store, "select id from agent_run_schedules where paused")
        }

    named_by_id = {"filter": {"agent_id": other.agent_id}}
    assert http.post("/schedules/pause", json=named_by_id, headers=ANN).json()["changed"] == []
    done = http.post("/schedules/pause", json={"all": True}, headers=ANN)

    assert done.json()["changed"] == [things.schedule_id]
    assert paused() == {things.schedule_id}
    done = http.post("/schedules/resume", json={"all": True}, headers=ANN)
    assert done.json()["changed"] == [things.schedule_id]


def test_a_principal_that_says_more_each_time_repeats_its_request_all_the_same(
    asked: Wiring, things: Things, provider: StubProvider, http: httpx.Client
) -> None:
    url = f"/agents/{things.agent_id}/schedules/{things.schedule_id}/trigger"

    def trigger(login: int) -> str:
        owns(provider, things, logged_in_at=login)
        headers = {**ANN, "Idempotency-Key": "k", "x-request-id": uuid4().hex}
        return str(http.post(url, headers=headers).json()["triggered_fire_id"])

    assert trigger(1) == trigger(2)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ((401, b""), 401, None),
        (
            (422, b'{"detail": "no such resource type: schedule"}'),
            422,
            "The authorization provider answered /v1/authz/check with 422. "
            "no such resource type: schedule",
        ),
        ((500, b"trace"), 500, "The authorization provider answered /v1/authz/check with 500."),
        ((502, b""), 502, "The authorization provider answered /v1/authz/check with 502."),
        ((503, b""), 503, "The authorization provider answered /v1/authz/check with 503."),
        ((504, b""), 500, "The authorization provider answered /v1/authz/check with 504."),
    ],
)
def test_what_the_provider_cannot_answer_is_passed_on(
    things: Things,
    provider: StubProvider,
    http: httpx.Client,
    answer: tuple[int, bytes],
    status: int,
    message: str | None,
) -> None:
    owns(provider, things)
    provider.answers["/v1/authz/check"] = answer
    got = http.get(f"/agents/{things.agent_id}", headers=ANN)

    assert got.status_code == status
    if message is None:
        assert got.json() == {"detail": "Unauthorized"}
    else:
        assert got.json() == {"message": message, "code": status, "data": None}
    assert ("retry-after" in got.headers) == (status == 503)


def test_a_provider_that_is_away_is_503_and_its_address_is_nobodys_business(
    app: FastAPI, database_url: str, http: httpx.Client
) -> None:
    with guarded(app, database_url, auth="agentex", auth_url="http://127.0.0.1:9"):
        away = http.get("/schedules", headers=ANN)
        assert http.get("/healthz").status_code == 200

    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert away.json()["message"] == (
        "The authorization provider cannot be reached, or does not answer within 2 s; try again."
    )


def test_a_provider_that_hangs_keeps_nobody_waiting_who_does_not_need_it(
    things: Things, provider: StubProvider, http: httpx.Client
) -> None:
    """More requests hang than there are threads for the API's own work."""
    owns(provider, things)
    goes_on = Event()
    provider.always["/v1/authz/check"] = goes_on.wait
    url = f"/agents/{things.agent_id}"

    with ThreadPoolExecutor(2 * API_CONNECTIONS) as pool:
        hanging = [pool.submit(http.get, url, headers=ANN) for _ in range(2 * API_CONNECTIONS)]
        while len(provider.calls) < API_CONNECTIONS:
            time.sleep(0.01)
        assert http.get("/readyz").status_code == 200
        assert not any(each.done() for each in hanging)
        goes_on.set()

    assert {each.result().status_code for each in hanging} == {200}


def test_an_agents_key_is_ours_to_judge_and_not_the_providers(
    things: Things, provider: StubProvider, http: httpx.Client
) -> None:
    own = {"x-agent-api-key": things.agent_key}

    done = http.post(f"/tasks/{things.task_id}/complete", headers=own)
    wrong = http.get("/schedules", headers={"x-agent-api-key": "wrong"})

    assert (done.status_code, done.json()["status"]) == (200, "COMPLETED")
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "Agent Unauthorized"})
    assert provider.asked() == []
