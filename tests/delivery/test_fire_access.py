"""A real provider asked over real connections: what its answers mean, and how many there are."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from schedules_pipeline.delivery.fire_access import PER_CREATOR, ProviderAccess, ProviderLimits
from schedules_pipeline.errors import PermissionDenied, SchedulesError, Unavailable
from schedules_pipeline.services.access_port import Operation, Resource
from tests.provider import CLOSE, GARBAGE, HANG, Provider, a_provider
from tests.services.working import until

ANN = {"principal_type": "user", "user_id": "ann", "account_id": "acme"}
BOB = {"principal_type": "user", "user_id": "bob"}
AGENT = Resource.agent("a-1")
SHORT = ProviderLimits(connect=0.2, answer=0.2, question=1)


def asking(
    provider: Provider | str,
    *questions: Callable[[ProviderAccess], Awaitable[None]],
    limits: ProviderLimits = SHORT,
) -> list[BaseException | None]:
    """What comes of questions that are asked at once."""

    async def run() -> list[BaseException | None]:
        url = provider if isinstance(provider, str) else provider.url
        access = ProviderAccess(url, limits)
        try:
            await access.rehearse()
            asked = asyncio.gather(*(q(access) for q in questions), return_exceptions=True)
            return await asyncio.wait_for(asked, 20)
        finally:
            await access.aclose()

    return asyncio.run(run())


async def may_execute(access: ProviderAccess) -> None:
    await access.check(ANN, AGENT, Operation.EXECUTE)


async def registers(access: ProviderAccess) -> None:
    await access.register(ANN, Resource.task("t-1"), AGENT)


def of_ann(number: int) -> Callable[[ProviderAccess], Awaitable[None]]:
    """A question like no other's."""

    async def check(access: ProviderAccess) -> None:
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
    async def check(access: ProviderAccess) -> None:
        await access.check(ANN | {"token": "secret"}, AGENT, Operation.EXECUTE)

    with a_provider() as provider:
        asking(provider, check)
        assert provider.calls[0][1]["principal"] == ANN


def test_a_creator_without_an_id_owns_no_task(caplog: pytest.LogCaptureFixture) -> None:
    async def register(access: ProviderAccess) -> None:
        await access.register({}, Resource.task("t-1"), AGENT)

    with a_provider() as provider:
        assert asking(provider, register) == [None]
        assert provider.calls == []
    assert "t-1: not registered, its schedule's creator has no id" in caplog.text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"message": "ann left", "code": 403}', ": ann left"),
        (b'{"detail": "no"}', ": no"),
        (b"go away", ": go away"),
        (b'{"detail": "two\\nlines \\u0000\\u001b[31m"}', ": two lines [31m"),
        (b"\xff" * 10, ": " + "\\xff" * 10),
        (b"[" * 100_000, ": " + "[" * 499 + "…"),
        (b"", "."),
    ],
)
def test_a_denial_is_the_providers_words_fit_for_a_log(said: bytes, words: str) -> None:
    with a_provider(answers={"execute": (403, said)}) as provider:
        (denied,) = asking(provider, may_execute)
    assert isinstance(denied, PermissionDenied)
    assert str(denied) == f"The authorization provider denies it to the schedule's creator{words}"


@pytest.mark.parametrize("status", [201, 301, 401, 404, 409, 422, 500, 502, 503])
def test_any_other_status_is_no_answer(status: int) -> None:
    with a_provider(answers={"execute": (status, b"what\nnow")}) as provider:
        (error,) = asking(provider, may_execute)
        where = provider.url.removeprefix("http://")
    assert isinstance(error, Unavailable)
    assert str(error) == (
        f"The authorization provider at {where} answered HTTP {status}: what now."
    )


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
    async def for_bob(access: ProviderAccess) -> None:
        await access.check(BOB, AGENT, Operation.EXECUTE)

    with a_provider(answers={"ann": HANG}) as provider:
        *hung, bobs = asking(provider, *(of_ann(n) for n in range(2 * PER_CREATOR)), for_bob)
    assert bobs is None
    where = provider.url.removeprefix("http://")
    assert {str(error) for error in hung} == {
        f"The authorization provider at {where} did not answer in time (0.2 s)."
    }


def test_a_crowd_waits_for_a_place_no_longer_than_a_question_may_take() -> None:
    limits = ProviderLimits(answer=20, question=1)
    with a_provider(answers={"ann": HANG}) as provider:
        errors = asking(provider, *(of_ann(n) for n in range(PER_CREATOR + 5)), limits=limits)
    assert all(isinstance(error, Unavailable) for error in errors)


def test_so_many_are_in_flight_at_once_and_their_connections_are_used_again() -> None:
    limits = ProviderLimits(answer=10, question=20)
    with a_provider(thinks_seconds=0.02) as provider:
        crowd = [of_ann(n) for n in range(3 * PER_CREATOR)]
        assert asking(provider, *crowd, limits=limits) == [None] * len(crowd)
        assert provider.peak <= PER_CREATOR
        assert len(provider.calls) == len(crowd)
        assert len(provider.connections) <= PER_CREATOR


def test_the_same_question_of_many_at_once_is_asked_once_and_all_hear_the_answer() -> None:
    with a_provider(answers={"execute": (403, b"no")}) as provider:
        denied = asking(provider, *[may_execute] * 50)
        assert len(provider.calls) == 1
    assert [type(error) for error in denied] == [PermissionDenied] * 50


def test_no_answer_serves_a_later_question() -> None:
    async def again(access: ProviderAccess) -> None:
        await may_execute(access)
        provider.answers["execute"] = (403, b"revoked")
        with pytest.raises(PermissionDenied, match="revoked"):
            await may_execute(access)

    with a_provider() as provider:
        assert asking(provider, again) == [None]


def test_who_asks_while_the_question_is_under_way_is_answered_anew() -> None:
    """What is under way may have been decided before something was taken away."""

    async def later(access: ProviderAccess) -> None:
        await until(lambda: bool(provider.calls))
        provider.answers["execute"] = (403, b"revoked")
        await may_execute(access)

    limits = ProviderLimits(answer=5)
    with a_provider(thinks_seconds=0.1) as provider:
        first, second = asking(provider, may_execute, later, limits=limits)
        assert len(provider.calls) == 2
    assert isinstance(second, SchedulesError)
    assert isinstance(first, PermissionDenied | None)


def test_a_kept_connection_that_the_provider_closed_costs_no_attempt() -> None:
    async def twice(access: ProviderAccess) -> None:
        await may_execute(access)
        provider.answers["execute"] = CLOSE
        with pytest.raises(Unavailable):
            await may_execute(access)

    with a_provider() as provider:
        assert asking(provider, twice) == [None]
        # Once, and once more on a connection of its own.
        assert len(provider.calls) == 3


def test_a_question_that_nobody_waits_for_any_more_ends_with_its_connections() -> None:
    async def gives_up(access: ProviderAccess) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(may_execute(access), 0.05)

    with a_provider(answers={"ann": HANG}) as provider:
        began = time.monotonic()
        assert asking(provider, gives_up, limits=ProviderLimits(answer=20)) == [None]
        assert time.monotonic() - began < 10
