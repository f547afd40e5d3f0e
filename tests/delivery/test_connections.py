"""How connections to agents are opened, kept and given up, against real sockets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from schedules_pipeline.delivery import connections
from schedules_pipeline.delivery.acp import Timeouts
from schedules_pipeline.delivery.local import LocalPlatform
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.errors import AgentError, TimedOut, Unreachable
from tests.agents import RunningAgent, start_agent
from tests.delivery.factories import NoTasks, make_agent, make_assignment

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = (
    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
    b'{"jsonrpc":"2.0","result":null,"error":null,"id":"AgentRPCMethod.EVENT_SEND-task-1"}'
) % 84


@contextlib.asynccontextmanager
async def open_platform(timeouts: Timeouts | None = None) -> AsyncIterator[LocalPlatform]:
    platform = LocalPlatform(timeouts or Timeouts(), NoTasks())
    try:
        yield platform
    finally:
        await platform.aclose()


@contextlib.asynccontextmanager
async def open_server(handler: Handler) -> AsyncIterator[str]:
    """A server in the test's own event loop, for behaviour that needs control of every byte."""
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        handling.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        # The platform closed its connections before us, so that each handler is at its end.
        async with asyncio.timeout(5):
            await asyncio.gather(*handling)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"content-length:")
    return await reader.readexactly(length)


async def failed_input(acp_url: str, timeouts: Timeouts | None = None) -> Unreachable:
    async with open_platform(timeouts) as platform:
        with pytest.raises(Unreachable) as caught:
            await platform.send_input(make_assignment(acp_url))
    assert not caught.value.input_written
    return caught.value


# --- nobody there ---------------------------------------------------------------------------------


def test_a_refused_connection_is_unreachable_and_nothing_was_written() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    error = asyncio.run(failed_input(f"{address}/secret-path"))
    assert str(error) == f"The agent cannot be reached at {address}: Connection refused."


def test_an_unknown_host_is_unreachable() -> None:
    error = asyncio.run(failed_input("http://agent.invalid"))
    assert str(error).startswith("The agent cannot be reached at http://agent.invalid: ")


def test_a_password_in_the_address_is_not_told() -> None:
    error = asyncio.run(failed_input("http://user:secret@agent.invalid"))
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "acp_url",
    ["", "localhost:9000", "http://", "ftp://agent", "http://[::1", "http://agent:99999", "///"],
)
def test_what_is_no_address_is_unreachable_and_named(acp_url: str) -> None:
    error = asyncio.run(failed_input(acp_url))
    assert str(error).startswith(f"The agent's acp_url is not an http(s) address: '{acp_url}")


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel ignores every further one."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "timeouts", [Timeouts(connect=0.2), Timeouts(connect=5, request=0.2)], ids=["connect", "whole"]
)
def test_a_connection_that_does_not_come_about_is_given_up_and_nothing_was_written(
    deaf_port: int, timeouts: Timeouts
) -> None:
    begun = time.monotonic()
    error = asyncio.run(failed_input(f"http://127.0.0.1:{deaf_port}", timeouts))
    assert str(error).endswith(f":{deaf_port}: no connection within 0.2 s.")
    assert 0.2 <= time.monotonic() - begun < 1


def test_a_server_without_tls_is_unreachable_by_https() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def run() -> None:
        async with open_server(plain) as url:
            error = await failed_input(url.replace("http:", "https:"))
            assert "SSL" in str(error) or "record" in str(error).lower()

    asyncio.run(run())


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/api"),
        ("/", "/api"),
        ("/agents/a/", "/agents/a/api"),
        ("/a%2Fb%20c//", "/a%2Fb%20c/api"),
        ("/x?tenant=1&b=%20#top", "/x/api?tenant=1&b=%20"),
    ],
)
def test_requests_go_to_api_below_whatever_path_the_agent_registered(
    suffix: str, path: str
) -> None:
    paths = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        paths.append((await reader.readline()).split()[1].decode())
        writer.write(OK)
        writer.close()

    async def run() -> None:
        async with open_server(note) as url, open_platform() as platform:
            await platform.send_input(make_assignment(url + suffix))

    asyncio.run(run())
    assert paths == [path]


# --- what must not happen -------------------------------------------------------------------------


def test_redirects_are_not_followed_and_cookies_not_kept(agent: RunningAgent) -> None:
    async def run() -> None:
        async with open_platform() as platform:
            with pytest.raises(AgentError):
                await platform.send_input(make_assignment(agent.url_for("redirect"), number=40))
            for number in (41, 42):
                await platform.send_input(make_assignment(agent.url_for("cookie"), number=number))

    asyncio.run(run())
    requests = {r["task_id"]: r for r in agent.received() if r["task_id"][:6] == "task-4"}
    assert [requests[f"task-{n}"]["mode"] for n in (40, 41, 42)] == ["redirect", "cookie", "cookie"]
    assert not any("cookie" in request["headers"] for request in requests.values())


def test_proxies_of_the_environment_are_ignored(
    agent: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def run() -> None:
        async with open_platform() as platform:
            await platform.send_input(make_assignment(agent.url))

    asyncio.run(run())


# --- kept connections -----------------------------------------------------------------------------


def count_connections(connections_made: list[int]) -> Handler:
    """A server that answers any number of events on each connection, and counts connections."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections_made.append(1)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await read_request(reader)
                writer.write(OK)
        writer.close()

    return serve


def test_a_connection_is_used_again_and_closed_before_any_agent_would_close_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert connections.KEEPALIVE_SECONDS < 2  # gunicorn's; uvicorn's is 5
    monkeypatch.setattr(connections, "KEEPALIVE_SECONDS", 0.2)
    made: list[int] = []

    async def run() -> None:
        async with open_server(count_connections(made)) as url, open_platform() as platform:
            for _ in range(3):
                await platform.send_input(make_assignment(url))
            assert len(made) == 1
            await asyncio.sleep(0.3)
            await platform.send_input(make_assignment(url))
            assert len(made) == 2

    asyncio.run(run())


async def opened_ahead(platform: LocalPlatform) -> None:
    await asyncio.gather(*platform._acp._opening)


def test_connections_for_expected_inputs_are_open_before_the_inputs_go_out() -> None:
    made: list[int] = []

    async def run() -> None:
        async with open_server(count_connections(made)) as url, open_platform() as platform:
            platform.expect([(make_agent(url), 20)])
            await opened_ahead(platform)
            sends = [platform.send_input(make_assignment(url)) for _ in range(20)]
            await asyncio.gather(*sends)
            assert len(made) == 20

    asyncio.run(run())


def test_a_kept_connection_is_not_taken_for_a_new_one() -> None:
    """Its idle time counts from its last request, not from when others were opened beside it."""
    made: list[int] = []

    async def run() -> None:
        async with open_server(count_connections(made)) as url, open_platform() as platform:
            await platform.send_input(make_assignment(url))
            platform.expect([(make_agent(url), 2)])
            await opened_ahead(platform)
            await asyncio.gather(*(platform.send_input(make_assignment(url)) for _ in range(2)))
            assert len(made) == 3

    asyncio.run(run())


def test_an_expected_connection_that_its_agent_closed_is_not_written_to() -> None:
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(OK)

    async def run() -> None:
        async with open_platform() as platform:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                platform.expect([(make_agent(url), 1)])
                await opened_ahead(platform)
                listener.accept()[0].close()  # its end has come, our event loop has not seen it
                sending = asyncio.create_task(platform.send_input(make_assignment(url)))
                await asyncio.gather(sending, asyncio.to_thread(answer, listener))

    asyncio.run(run())


@pytest.mark.filterwarnings("error")
def test_agents_that_cannot_be_reached_ahead_of_time_harm_nobody() -> None:
    made: list[int] = []

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            refusing = f"http://127.0.0.1:{gone.getsockname()[1]}"
        # TLS to one that accepts and says nothing; no address at all; nobody there.
        with socket.create_server(("127.0.0.1", 0)) as silent:
            hanging = f"https://127.0.0.1:{silent.getsockname()[1]}"
            async with open_server(count_connections(made)) as url, open_platform() as platform:
                bad = [hanging, "no address", "http://[::1", "http://", refusing]
                platform.expect([(make_agent(each), 64) for each in bad])
                platform.expect([(make_agent(url), 1)])
                await platform.send_input(make_assignment(url))
                error = await failed_input(refusing)
                assert "Connection refused" in str(error)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    asyncio.run(run())


def test_inputs_survive_an_agent_that_closes_idle_connections(tmp_path: Path) -> None:
    """At every offset around the agent's limit of 50 ms, with an event loop too busy to notice."""

    async def deliver(platform: LocalPlatform, number: int) -> None:
        try:
            await platform.send_input(make_assignment(agent.url, number=number))
        except TimedOut as error:
            # The race that nobody can win: closed while our bytes were under way. Then it is said,
            # and whether to repeat it is not for us to decide.
            said.append((number, error.input_written))

    async def run() -> None:
        async with open_platform() as platform:
            for number in range(60):
                await deliver(platform, number)
                if number % 2:
                    await asyncio.sleep(0.040 + 0.0005 * number)
                else:
                    time.sleep(0.040 + 0.0005 * number)  # noqa: ASYNC251  the loop is busy

    said: list[tuple[int, bool]] = []
    with start_agent(tmp_path, "--idle-close", "0.05") as agent:
        asyncio.run(run())
        ids = [request["task_id"] for request in agent.received()]
    lost = {f"task-{number}" for number, written in said if written}
    assert len(said) == len(lost) <= 3
    assert [i for i in ids if i not in lost] == [
        i for i in (f"task-{number}" for number in range(60)) if i not in lost
    ]


def test_a_connection_closed_after_each_answer_is_noticed_even_without_a_pause(
    agent: RunningAgent,
) -> None:
    async def run() -> None:
        async with open_platform() as platform:
            for number in range(20):
                assignment = make_assignment(agent.url_for("ok_then_close"), number=number)
                await platform.send_input(assignment)
                time.sleep(0.05)  # noqa: ASYNC251  its end has come, our event loop has not seen it

    asyncio.run(run())


def test_a_kept_connection_lost_as_we_write_counts_as_written_only_for_an_input(
    agent: RunningAgent,
) -> None:
    async def run() -> None:
        async with open_platform() as platform:
            assignment = make_assignment(agent.url_for("close_when_reused"))
            await platform.create_task(assignment)
            with pytest.raises(TimedOut, match="The connection was lost before") as caught:
                await platform.send_input(assignment)
            assert caught.value.input_written
            await platform.send_input(assignment)
            with pytest.raises(TimedOut) as caught:
                await platform.create_task(assignment)
            assert not caught.value.input_written

    asyncio.run(run())


def test_an_answer_given_before_a_large_input_was_read_spoils_nothing() -> None:
    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"content-length: 3" in head:
            writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
            await asyncio.sleep(0.05)
            with contextlib.suppress(ConnectionError):
                assert b"POST" not in await reader.read(1 << 25)
        else:
            writer.write(OK)
        writer.close()

    async def run() -> None:
        async with open_server(refuse_early) as url, open_platform() as platform:
            with pytest.raises(AgentError, match=r"^The agent answered HTTP 413\.$"):
                await platform.send_input(make_assignment(url, content="x" * 30_000_000))
            await platform.send_input(make_assignment(url))

    asyncio.run(run())


# --- one agent's trouble is its own ---------------------------------------------------------------


def test_700_hung_requests_do_not_hold_up_other_agents(agent: RunningAgent) -> None:
    def came(count: int) -> None:
        while sum(request["mode"] == "hang" for request in agent.received("event/send")) < count:
            time.sleep(0.1)

    async def run() -> None:
        async with open_platform() as platform:
            hung = [
                asyncio.create_task(
                    platform.send_input(make_assignment(agent.url_for("hang"), number=number))
                )
                for number in range(700)
            ]
            await asyncio.to_thread(came, 700)
            begun = time.monotonic()
            await platform.send_input(make_assignment(agent.url_for("ok")))
            assert time.monotonic() - begun < 1
            for task in hung:
                task.cancel()
            outcomes = await asyncio.gather(*hung, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}

    asyncio.run(run())


def test_connections_leave_files_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1_024, 1_024))
    limits = []

    async def run() -> None:
        async with open_platform() as platform:
            with pytest.raises(Unreachable):
                await platform.send_input(make_assignment("http://127.0.0.1:1", AcpType.SYNC))
            session = platform._acp._open_session()
            assert session.connector is not None
            limits.append(session.connector.limit)

    asyncio.run(run())
    assert limits == [824]
