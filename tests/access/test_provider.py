"""What the provider's answers mean. They are not trusted: what makes no sense is a no."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from schedules_pipeline.access.provider import (
    CACHE_SECONDS,
    CACHED,
    MAX_TEXT,
    ProviderAuthenticator,
    ProviderAuthorizer,
)
from schedules_pipeline.errors import (
    PermissionDenied,
    ProviderTrouble,
    SchedulesError,
    Unauthorized,
    Unavailable,
)
from schedules_pipeline.services.access_port import Operation, Presented, Resource, ResourceType

PRINCIPAL = {"user_id": "ann", "extra": {"tenant": 7}}
SCHEDULE, AGENT = Resource.schedule("a", "s"), Resource.agent("a")


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes


@dataclass
class Said:
    """A provider that always says the same, and keeps what it was asked."""

    status: int = 200
    body: bytes = b'{"success": true}'
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    def ask(self, path: str, headers: Mapping[str, str], body: bytes, *, most: int) -> Reply:
        assert len(self.body) <= most
        self.asked.append((path, dict(headers), json.loads(body) if body else None))
        return Reply(self.status, self.body)


class Watch:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def presented(**headers: str) -> Presented:
    return Presented({k.replace("_", "-"): v for k, v in headers.items()}, "192.0.2.1")


# --- who is it ------------------------------------------------------------------------------------


def test_all_headers_are_forwarded_but_those_of_the_connection() -> None:
    provider = Said(body=json.dumps(PRINCIPAL).encode())
    shown = presented(
        cookie="a=b",
        authorization="Bearer x",
        x_selected_account_id="1",
        content_length="7",
        host="us",
        connection="close",
        transfer_encoding="chunked",
        expect="100-continue",
        accept_encoding="gzip",
    )

    assert ProviderAuthenticator(provider).authenticate(shown) == PRINCIPAL
    forwarded = {"cookie": "a=b", "authorization": "Bearer x", "x-selected-account-id": "1"}
    assert provider.asked == [("/v1/authn", forwarded, None)]


def test_a_yes_holds_for_a_minute_and_for_the_same_headers_only() -> None:
    provider, watch = Said(body=json.dumps(PRINCIPAL).encode()), Watch()
    authenticator = ProviderAuthenticator(provider, watch)

    def ask(**headers: str) -> int:
        authenticator.authenticate(presented(**headers))
        return len(provider.asked)

    assert ask(authorization="one") == 1
    assert ask(authorization="one", content_length="9") == 1
    assert ask(authorization="two") == 2
    assert ask(authorization="one", x_selected_account_id="1") == 3
    watch.seconds += CACHE_SECONDS - 0.1
    assert ask(authorization="one") == 3
    watch.seconds += 0.1
    assert ask(authorization="one") == 4


def test_a_no_is_asked_again_and_a_yes_that_is_old_is_forgotten_for_newer_ones() -> None:
    provider = Said(status=401)
    authenticator = ProviderAuthenticator(provider, Watch())
    for _ in range(2):
        with pytest.raises(Unauthorized):
            authenticator.authenticate(presented(authorization="one"))
    assert len(provider.asked) == 2

    provider.status, provider.body = 200, json.dumps(PRINCIPAL).encode()
    for number in range(CACHED + 1):
        authenticator.authenticate(presented(authorization=str(number)))
    provider.asked.clear()
    authenticator.authenticate(presented(authorization=str(CACHED)))
    authenticator.authenticate(presented(authorization="0"))
    assert [headers["authorization"] for _, headers, _ in provider.asked] == ["0"]


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 404, 422, 500, 503])
def test_any_failure_to_say_who_this_is_is_401(status: int) -> None:
    with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
        ProviderAuthenticator(Said(status=status)).authenticate(presented(cookie="x"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'"ann"',
        b"[1]",
        b"{",
        b"[" * 60_000,
        b"\xff",
        # What is stored of it must be storable as it is.
        b'{"user_id": 7}',
        b'{"user_id": "a\\u0000"}',
        b'{"account_id": "\\ud800"}',
        json.dumps({"user_id": "x" * 257}).encode(),
    ],
)
def test_what_is_no_principal_is_nobody(body: bytes) -> None:
    with pytest.raises(Unauthorized):
        ProviderAuthenticator(Said(body=body)).authenticate(presented(cookie="x"))


# --- may they -------------------------------------------------------------------------------------


def test_questions_carry_the_whole_principal() -> None:
    provider = Said()
    authorizer = ProviderAuthorizer(provider)
    shown = {"type": "schedule", "selector": "run-schedule::a::s"}

    authorizer.check(PRINCIPAL, SCHEDULE, Operation.UPDATE)
    authorizer.register(PRINCIPAL, SCHEDULE, AGENT)
    authorizer.register(PRINCIPAL, Resource.task("t"))
    authorizer.grant(PRINCIPAL, SCHEDULE)
    authorizer.revoke(PRINCIPAL, SCHEDULE)
    authorizer.deregister(PRINCIPAL, SCHEDULE)

    parent = {"type": "agent", "selector": "a"}
    task = {"type": "task", "selector": "t"}
    who = {"principal": PRINCIPAL}
    assert [(path, body) for path, _, body in provider.asked] == [
        ("/v1/authz/check", {**who, "resource": shown, "operation": "update"}),
        ("/v1/authz/register", {**who, "resource": shown, "parent": parent}),
        ("/v1/authz/register", {**who, "resource": task, "parent": None}),
        ("/v1/authz/grant", {**who, "resource": shown, "operation": "create"}),
        ("/v1/authz/revoke", {**who, "resource": shown, "operation": "delete"}),
        ("/v1/authz/deregister", {**who, "resource": shown}),
    ]


@pytest.mark.parametrize(
    ("status", "error", "passed_on"),
    [
        (401, Unauthorized, 401),
        (403, PermissionDenied, 403),
        (422, ProviderTrouble, 422),
        (404, ProviderTrouble, 404),
        (429, ProviderTrouble, 429),
        (500, ProviderTrouble, 500),
        (502, ProviderTrouble, 502),
        (503, ProviderTrouble, 503),
        (504, ProviderTrouble, 500),
        # Neither yes nor error: it must not look like a yes.
        (201, ProviderTrouble, 502),
        (302, ProviderTrouble, 502),
    ],
)
def test_a_status_other_than_200_is_passed_on(
    status: int, error: type[SchedulesError], passed_on: int
) -> None:
    with pytest.raises(error) as raised:
        ProviderAuthorizer(Said(status=status)).check(PRINCIPAL, SCHEDULE, Operation.READ)

    assert raised.value.http_status == passed_on
    if error is ProviderTrouble:
        text = f"The authorization provider answered /v1/authz/check with {status}."
        assert str(raised.value) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"detail": "not yours"}', "not yours"),
        (b'{"message": "nor mine"}', "nor mine"),
        (b'"plainly no"', "plainly no"),
        (b"<html>no</html>", "The authorization provider says no."),
        (b'{"detail": {"deep": 1}}', "The authorization provider says no."),
        (b'{"detail": "a\\u001b[31m\\nb"}', "a[31mb"),
        (json.dumps({"detail": "x" * 5_000}).encode(), "x" * MAX_TEXT),
    ],
)
def test_a_denial_has_the_providers_words_but_no_more_of_it(body: bytes, text: str) -> None:
    with pytest.raises(PermissionDenied) as denied:
        ProviderAuthorizer(Said(403, body)).check(PRINCIPAL, SCHEDULE, Operation.READ)

    assert str(denied.value) == text


def test_a_search_finds_what_is_listed_or_everything() -> None:
    provider = Said(body=b'{"items": ["run-schedule::a::s"]}')
    authorizer = ProviderAuthorizer(provider)

    found = authorizer.search(PRINCIPAL, ResourceType.SCHEDULE, Operation.READ)

    assert found == ["run-schedule::a::s"]
    assert provider.asked[0][2] == {
        "principal": PRINCIPAL,
        "filter_resource": "schedule",
        "filter_operation": "read",
    }
    provider.body = b'{"unscoped": true}'
    assert authorizer.search(PRINCIPAL, ResourceType.SCHEDULE, Operation.READ) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"true",
        b'{"unscoped": false}',
        b'{"unscoped": 1}',
        b'{"unscoped": true, "why": "because"}',
        b'{"items": null}',
        b'{"items": "run-schedule::a::s"}',
        b'{"items": [1]}',
    ],
)
def test_a_search_that_makes_no_sense_finds_nothing_and_says_so(body: bytes) -> None:
    with pytest.raises(Unavailable, match="answer to /v1/authz/search lists nothing"):
        ProviderAuthorizer(Said(body=body)).search(PRINCIPAL, ResourceType.AGENT, Operation.READ)


def test_nobodys_things_are_not_registered_and_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = Said()
    authorizer = ProviderAuthorizer(provider)

    for tell in (authorizer.register, authorizer.grant, authorizer.revoke, authorizer.deregister):
        tell({"principal_type": "user", "account_id": "1"}, SCHEDULE)

    assert provider.asked == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "neither user_id nor service_account_id" in caplog.text
