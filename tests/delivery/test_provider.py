"""The authorization provider over real HTTP: bounded in time and size, and nothing is mixed up."""

import socket
from collections.abc import Iterator

import pytest

from schedules_pipeline.delivery.provider import ProviderClient
from schedules_pipeline.errors import Unavailable
from tests.provider import StubProvider

PATH = "/v1/authz/check"


@pytest.fixture
def client(provider: StubProvider) -> Iterator[ProviderClient]:
    opened = ProviderClient(provider.url, seconds=20)
    yield opened
    opened.close()


def test_a_question_is_a_post_with_the_headers_and_the_body_as_they_are(
    client: ProviderClient, provider: StubProvider
) -> None:
    provider.answers[PATH] = (418, b"short")

    answer = client.ask(PATH, {"x-name": "Zo\u00eb", "cookie": "a=b"}, b'{"p": 1}', most=5)

    assert (answer.status, answer.body) == (418, b"short")
    (call,) = provider.calls
    assert call.body == {"p": 1}
    assert (call.headers["x-name"], call.headers["cookie"]) == ("Zo\u00eb", "a=b")
    assert call.headers["accept-encoding"] == "identity"


def test_an_empty_body_is_said_to_be_empty(client: ProviderClient, provider: StubProvider) -> None:
    provider.answers["/v1/authn"] = (200, b"{}")

    client.ask("/v1/authn", {}, b"", most=10)

    assert provider.calls[0].headers["content-length"] == "0"


def test_an_answer_that_is_too_large_is_not_read(
    client: ProviderClient, provider: StubProvider
) -> None:
    provider.answers[PATH] = (200, b"x" * 1_001)

    with pytest.raises(Unavailable, match="provider answers with more than 1,000 bytes"):
        client.ask(PATH, {}, b"{}", most=1_000)


def test_an_answer_that_never_ends_is_cut_off_though_each_byte_comes_soon(
    provider: StubProvider,
) -> None:
    provider.answers[PATH], provider.drip_seconds = (200, b"x" * 1_000), 0.1
    client = ProviderClient(provider.url, seconds=0.5)

    with pytest.raises(Unavailable, match=r"does not answer within 0\.5 s; try again"):
        client.ask(PATH, {}, b"{}", most=1_000)
    client.close()


def test_a_provider_that_is_away_is_unavailable_and_its_address_stays_with_us() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = ProviderClient(f"http://127.0.0.1:{port}")

    with pytest.raises(Unavailable) as away:
        client.ask(PATH, {}, b"{}", most=1_000)
    client.close()

    assert str(port) not in str(away.value)


def test_a_redirect_is_an_answer_and_is_not_followed(
    client: ProviderClient, provider: StubProvider
) -> None:
    provider.answers[PATH] = (307, b"")
    provider.extra_headers = {"location": "/v1/authz/grant"}

    assert client.ask(PATH, {}, b"{}", most=10).status == 307
    assert [call.path for call in provider.calls] == [PATH]


def test_a_cookie_that_the_provider_sets_for_one_is_not_sent_for_another(
    client: ProviderClient, provider: StubProvider
) -> None:
    provider.answers[PATH] = (200, b"{}")
    provider.extra_headers = {"set-cookie": "session=the-first-ones"}

    client.ask(PATH, {}, b"{}", most=10)
    client.ask(PATH, {}, b"{}", most=10)

    assert "cookie" not in provider.calls[1].headers


def test_a_client_that_was_never_used_can_be_closed() -> None:
    ProviderClient("http://127.0.0.1:9").close()
