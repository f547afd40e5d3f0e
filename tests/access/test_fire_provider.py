"""A real provider asked over real connections: what its answers mean, and how many there are."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from schedules_pipeline.access.fire_provider import PER_CREATOR, ProviderSays
from schedules_pipeline.access.provider import MAX_ANSWER_BYTES
from schedules_pipeline.delivery.fire_provider import FireProviderClient, Patience
from schedules_pipeline.errors import PermissionDenied, SchedulesError, Unavailable
from schedules_pipeline.services.access_port import Operation, Resource
from tests.fire_provider import CLOSE, GARBAGE, HANG, Provider, a_provider
from tests.services.working import until

ANN = {"principal_type": "user", "user_id": "ann", "account_id": "acme"}
BOB = {"principal_type": "user", "user_id": "bob"}
AGENT = Resource.agent("a-1")
SHORT = Patience(connect=0.2, answer=0.2)


def asking(
    provider: Provider | str,
    *questions: Callable[[ProviderSays], Awaitable[None]],
    patience: Patience = SHORT,
    question: float = 5,
) -> list[BaseException | None]:
    """What comes of questions that are asked at once."""

    async def run() -> list[BaseException | None]:
        url = provider if isinstance(provider, str) else provider.url
        access = ProviderSays(FireProviderClient(url, patience), question)
        try:
            await access.rehearse()
            asked = asyncio.gather(*(q(access) for q in questions), return_exceptions=True)
            return await asyncio.wait_for(asked, 20)
        finally:
            await access.aclose()

    return asyncio.run(run())


async def may_execute(access: ProviderSays) -> None:
    await access.check(ANN, AGENT, Operation.EXECUTE)


async def registers(access: ProviderSays) -> None:
    await access.register(ANN, Resource.task("t-1"), AGENT)


def of_ann(number: int) -> Callable[[ProviderSays], Awaitable[None]]:
    """A question like no other's."""

    async def check(access: ProviderSays) -> None:
        await access.check(ANN, Resource.task(f"t-{number}"), Operation.UPDATE)

    return check


def test_a_check_is_the_contracts_and_yes_is_silent() -> None:
    with a_provider() as provider:
        assert asking(provider, may_execute) == [None]
        assert provider.calls == [
            (
                "/v1/authz/check",
                {
                    "principal": ANN,
                    "resource": {"type": "agent", "selector": "a-1"},
                    "operation": "execute",
                },
            )
        ]


def test_a_task_is_registered_under_its_agent_and_then_granted_to_its_creator() -> None:
    with a_provider() as provider:
        assert asking(provider, registers) == [None]
        task, agent = {"type": "task", "selector": "t-1"}, {"type": "agent", "selector": "a-1"}
        assert provider.calls == [
            ("/v1/authz/register", {"principal": ANN, "resource": task, "parent": agent}),
            ("/v1/authz/grant", {"principal": ANN, "resource": task, "operation": "create"}),
        ]


def test_a_task_that_is_registered_already_is_fine() -> None:
    with a_provider(answers={"register": (409, b"exists"), "grant": (409, b"exists")}) as provider:
        assert asking(provider, registers) == [None]


def test_only_the_credential_free_fields_of_a_creator_are_told() -> None:
    async def check(access: ProviderSays) -> None:
        await access.check(ANN | {"token": "secret"}, AGENT, Operation.EXECUTE)

    with a_provider() as provider:
        asking(provider, check)
        assert provider.calls[0][1]["principal"] == ANN


def test_a_creator_without_an_id_owns_no_task(caplog: pytest.LogCaptureFixture) -> None:
    async def register(access: ProviderSays) -> None:
        await access.register({}, Resource.task("t-1"), AGENT)

    with a_provider() as provider:
        assert asking(provider, register) == [None]
        assert provider.calls == []
    assert "not registered: its schedule's creator has neither user_id nor" in caplog.text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"message": "ann left", "code": 403}', "ann left"),
        (b'{"detail": "two\\nlines \\u0000\\u001b[31m"}', "twolines [31m"),
        (b"\xff[" * 1_000, "The authorization provider says no."),
        (b"", "The authorization provider says no."),
        (b'{"detail": "' + b"x" * 5_000 + b'"}', "x" * 500),
    ],
)
def test_a_denial_is_the_providers_words_fit_for_a_log(said: bytes, words: str) -> None:
    with a_provider(answers={"execute": (403, said)}) as provider:
        (denied,) = asking(provider, may_execute)
    assert isinstance(denied, PermissionDenied)
    assert str(denied) == (
        "The schedule's creator may not execute agent a-1, by the authorization provider: " + words
    )


@pytest.mark.parametrize(
    ("status", "text"),
    [
        *((status, f" with {status}.") for status in (201, 301, 500, 502, 503)),
        *((status, f" with {status}. what now") for status in (404, 409, 422)),
        (401, " with 401: it does not know the schedule's creator, or not us."),
    ],
)
def test_any_other_status_is_no_answer(status: int, text: str) -> None:
    with a_provider(answers={"execute": (status, b'{"detail": "what now"}')}) as provider:
        (error,) = asking(provider, may_execute)
    assert isinstance(error, SchedulesError)
    assert not isinstance(error, PermissionDenied)
    assert str(error) == f"The authorization provider answered /v1/authz/check{text}"


def test_an_endless_answer_is_no_answer() -> None:
    said = b" " * (MAX_ANSWER_BYTES + 1)
    with a_provider(answers={"execute": (200, said)}) as provider:
        (error,) = asking(provider, may_execute)
    assert isinstance(error, Unavailable)
    assert str(error).endswith(" answers with more than 65,536 bytes.")


@pytest.mark.parametrize("answer", [GARBAGE, CLOSE])
def test_what_is_not_http_is_no_answer(answer: str) -> None:
    with a_provider(answers={"execute": answer}) as provider:
        (error,) = asking(provider, may_execute)
    assert isinstance(error, Unavailable)
    assert "cannot be asked: " in str(error)


def test_a_provider_that_is_not_there_is_no_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}"
        (error,) = asking(url, may_execute)
    assert isinstance(error, Unavailable)
    assert "cannot be asked: Cannot connect" in str(error)
    assert "secret" not in str(error)


def test_a_provider_that_hangs_over_one_creator_answers_for_the_others() -> None:
    async def for_bob(access: ProviderSays) -> None:
        await access.check(BOB, AGENT, Operation.EXECUTE)

    with a_provider(answers={"ann": HANG}) as provider:
        *hung, bobs = asking(provider, *(of_ann(n) for n in range(2 * PER_CREATOR)), for_bob)
    assert bobs is None
    where = provider.url.removeprefix("http://")
    assert {str(error) for error in hung} == {
        f"The authorization provider at {where} did not answer within 0.2 s."
    }


def test_a_crowd_waits_for_a_place_no_longer_than_a_question_may_take() -> None:
    with a_provider(answers={"ann": HANG}) as provider:
        errors = asking(
            provider,
            *(of_ann(n) for n in range(PER_CREATOR + 5)),
            patience=Patience(answer=20),
            question=1,
        )
    assert {str(error) for error in errors} == {
        "The authorization provider does not keep up: no answer within 1 s."
    }


def test_so_many_are_in_flight_at_once_and_their_connections_are_used_again() -> None:
    with a_provider(thinks_seconds=0.02) as provider:
        crowd = [of_ann(n) for n in range(3 * PER_CREATOR)]
        assert asking(provider, *crowd, patience=Patience(answer=10), question=20) == [None] * len(
            crowd
        )
        assert provider.peak <= PER_CREATOR
        assert len(provider.calls) == len(crowd)
        assert len(provider.connections) <= PER_CREATOR


def test_the_same_question_of_many_at_once_is_asked_once_and_all_hear_the_answer() -> None:
    with a_provider(answers={"execute": (403, b"no")}) as provider:
        denied = asking(provider, *[may_execute] * 50)
        assert len(provider.calls) == 1
    assert [type(error) for error in denied] == [PermissionDenied] * 50


def test_no_answer_serves_a_later_question() -> None:
    async def again(access: ProviderSays) -> None:
        await may_execute(access)
        provider.answers["execute"] = (403, b'{"detail": "revoked"}')
        with pytest.raises(PermissionDenied, match="revoked"):
            await may_execute(access)

    with a_provider() as provider:
        assert asking(provider, again) == [None]


def test_who_asks_while_the_question_is_under_way_is_answered_anew() -> None:
    """What is under way may have been decided before something was taken away."""

    async def later(access: ProviderSays) -> None:
        await until(lambda: bool(provider.calls))
        provider.answers["execute"] = (403, b"revoked")
        await may_execute(access)

    with a_provider(thinks_seconds=0.1) as provider:
        first, second = asking(provider, may_execute, later, patience=Patience(answer=5))
        assert len(provider.calls) == 2
    assert isinstance(second, SchedulesError)
    assert isinstance(first, PermissionDenied | None)


def test_a_kept_connection_that_the_provider_closed_costs_no_attempt() -> None:
    async def twice(access: ProviderSays) -> None:
        await may_execute(access)
        provider.answers["execute"] = CLOSE
        with pytest.raises(Unavailable):
            await may_execute(access)

    with a_provider() as provider:
        assert asking(provider, twice) == [None]
        # Once, and once more on a connection of its own.
        assert len(provider.calls) == 3


def test_a_question_that_nobody_waits_for_any_more_ends_with_its_connections() -> None:
    async def gives_up(access: ProviderSays) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(may_execute(access), 0.05)

    with a_provider(answers={"ann": HANG}) as provider:
        began = time.monotonic()
        assert asking(provider, gives_up, patience=Patience(answer=20)) == [None]
        assert time.monotonic() - began < 10
