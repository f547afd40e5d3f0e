"""The local platform against a real agent: what is written to it, and what its answers become."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from schedules_pipeline.delivery.acp import Timeouts
from schedules_pipeline.delivery.local import LocalPlatform
from schedules_pipeline.domain.fire import event_id
from schedules_pipeline.domain.schedule import AcpType, JsonObject
from schedules_pipeline.errors import AgentError, BadReply, DeliveryError, TimedOut
from schedules_pipeline.services.platform_port import AgentPlatform, Assignment
from tests.agents import RunningAgent, start_agent
from tests.delivery.factories import FIRE_ID, NoTasks, make_assignment

SHORT = Timeouts(connect=0.5, request=0.5, turn=0.5, turn_total=1.0)
T = TypeVar("T")


def using_platform(
    work: Callable[[AgentPlatform], Awaitable[T]], timeouts: Timeouts | None = None
) -> T:
    """Run `work` with a platform of its own."""

    async def run() -> T:
        platform = LocalPlatform(timeouts or Timeouts(), NoTasks())
        try:
            return await work(platform)
        finally:
            await platform.aclose()

    return asyncio.run(run())


def create_task(assignment: Assignment, timeouts: Timeouts | None = None) -> None:
    using_platform(lambda platform: platform.create_task(assignment), timeouts)


def send_input(assignment: Assignment, timeouts: Timeouts | None = None) -> str | None:
    return using_platform(lambda platform: platform.send_input(assignment), timeouts)


def failure_of(
    call: Callable[[Assignment, Timeouts | None], object], assignment: Assignment
) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        call(assignment, SHORT)
    return caught.value


AGENT_OBJECT = {
    "id": "agent-1",
    "docker_image": None,
    "name": "reporter",
    "description": "Writes reports.",
    "status": "Ready",
    "status_reason": None,
    "created_at": "2026-06-24T08:59:58.123456Z",
    "updated_at": "2026-06-24T08:59:58.123456Z",
    "registration_metadata": {"region": "eu"},
    "registered_at": "2026-06-24T08:59:58.123456Z",
    "agent_input_type": "text",
    "production_deployment_id": None,
}
TASK_OBJECT = {
    "id": "task-1",
    "name": f"scheduled-run:s-1:{FIRE_ID}",
    "status": "RUNNING",
    "status_reason": None,
    "created_at": "2026-06-24T08:59:58.123456Z",
    "updated_at": "2026-06-24T08:59:58.123456Z",
    "cleaned_at": None,
    "params": {"p": 1},
    "task_metadata": {"display_name": "daily", "idempotency_key": FIRE_ID},
}
CONTENT_OBJECT = {
    "type": "text",
    "author": "user",
    "style": "static",
    "format": "plain",
    "content": "hello",
    "attachments": None,
}


@pytest.mark.parametrize("acp_type", [AcpType.ASYNC, AcpType.AGENTIC])
def test_an_asynchronous_agent_gets_its_task_and_then_its_event(
    tmp_path: Path, acp_type: AcpType
) -> None:
    async def deliver(platform: AgentPlatform) -> None:
        await platform.create_task(assignment)
        assert await platform.send_input(assignment) is None

    with start_agent(tmp_path, "--envelopes") as agent:
        assignment = make_assignment(agent.url, acp_type, params={"p": 1})
        using_platform(deliver)
        create, send = (request["envelope"] for request in agent.received())
    agent_object = AGENT_OBJECT | {"acp_type": acp_type.value, "acp_url": agent.url}
    assert create == {
        "jsonrpc": "2.0",
        "method": "task/create",
        "id": "AgentRPCMethod.TASK_CREATE-task-1",
        "params": {"agent": agent_object, "task": TASK_OBJECT, "params": {"p": 1}},
    }
    assert send == {
        "jsonrpc": "2.0",
        "method": "event/send",
        "id": "AgentRPCMethod.EVENT_SEND-task-1",
        "params": {
            "agent": agent_object,
            "task": TASK_OBJECT,
            "event": {
                "id": event_id(FIRE_ID),
                "sequence_id": 7,
                "task_id": "task-1",
                "agent_id": "agent-1",
                "created_at": "2026-06-24T08:59:58.123456Z",
                "content": CONTENT_OBJECT,
            },
            "request": None,
        },
    }


def test_a_synchronous_agent_gets_one_message_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def deliver(platform: AgentPlatform) -> str | None:
        await platform.create_task(assignment)
        return await platform.send_input(assignment)

    with start_agent(tmp_path, "--envelopes", "--acp-type", "sync") as agent:
        assignment = make_assignment(agent.url, AcpType.SYNC, params={"p": 1})
        assert using_platform(deliver) == "You said: hello"
        (message,) = (request["envelope"] for request in agent.received())
    assert message == {
        "jsonrpc": "2.0",
        "method": "message/send",
        "id": "AgentRPCMethod.MESSAGE_SEND-task-1",
        "params": {
            "agent": AGENT_OBJECT | {"acp_type": "sync", "acp_url": agent.url},
            "task": TASK_OBJECT,
            "content": CONTENT_OBJECT,
            "stream": True,
        },
    }


def test_every_request_has_its_own_id_and_carries_the_agents_key_and_the_idempotency_key(
    tmp_path: Path,
) -> None:
    with start_agent(tmp_path) as agent:
        create_task(make_assignment(agent.url))
        send_input(make_assignment(agent.url))
        send_input(make_assignment(agent.url, AcpType.SYNC))
        headers = [request["headers"] for request in agent.received()]
    assert {h["x-agent-api-key"] for h in headers} == {"key-of-the-agent"}
    assert {h["x-idempotency-key"] for h in headers} == {FIRE_ID}
    assert {h["content-type"] for h in headers} == {"application/json"}
    assert [h["accept"] for h in headers] == ["application/json"] * 2 + ["text/event-stream"]
    request_ids = [h["x-request-id"] for h in headers]
    assert len(set(request_ids)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in request_ids)


def test_an_agent_without_a_key_is_sent_none(tmp_path: Path) -> None:
    with start_agent(tmp_path) as agent:
        create_task(make_assignment(agent.url, api_key=""))
        assert "x-agent-api-key" not in agent.received()[0]["headers"]


def test_the_answer_in_pieces_is_put_together(agent: RunningAgent) -> None:
    assert send_input(make_assignment(agent.url_for("stream"), AcpType.SYNC)) == "Hello world"


def test_a_long_answer_is_cut_at_2000_characters_that_postgres_can_hold(
    agent: RunningAgent,
) -> None:
    answer = send_input(make_assignment(agent.url_for("long_answer"), AcpType.SYNC))
    assert answer == ("ä" * 1_000 + "\n" + "ä" * 1_000)[:2_000]


def test_a_synchronous_agent_may_have_nothing_to_say(agent: RunningAgent) -> None:
    assert send_input(make_assignment(agent.url_for("empty_stream"), AcpType.SYNC)) is None


def test_null_is_a_fine_result(agent: RunningAgent) -> None:
    create_task(make_assignment(agent.url))


def test_numbers_longer_than_64_bits_and_halves_of_characters_arrive_as_they_are(
    tmp_path: Path,
) -> None:
    params = {"long": -(10**40), "ordinary": 2**63 - 1, "broken": "\ud83d", "deep": _nested(300)}
    with start_agent(tmp_path) as agent:
        create_task(make_assignment(agent.url, params=params))
        (create,) = agent.received()
    assert create["task_params"] == params


def _nested(depth: int) -> JsonObject:
    return {"in": _nested(depth - 1)} if depth else {}


def test_an_input_of_several_mebibytes_arrives_whole(tmp_path: Path) -> None:
    content = "ä\ud800" * 1_500_000
    with start_agent(tmp_path) as agent:
        send_input(make_assignment(agent.url, content=content))
        assert agent.received()[0]["content"] == content


HTTP_500 = r"The agent answered HTTP 500: 'Traceback: \[31mboom'\."
LONG_ERROR = r"The agent answered with an error: -32603 no disk x{491}…"
NOT_JSON = r"The agent's answer is not JSON: '<html> \[2J welcome </html>'"
WRONG_ID = r"The agent's answer is to another request: id 'another', expected 'AgentRPC.+-task-1'\."
MIDWAY = r"The agent closed the connection in the middle of its answer\."
LOST = r"The connection was lost before the agent answered: Server disconnected\."
RESET = r"The connection was lost before the agent answered: Connection reset by peer\."
LATE = r"The agent did not finish within 0\.5 s\."

WAYS_TO_FAIL = [
    # mode, class, text, may the agent have taken the input?
    ("error500", AgentError, HTTP_500, False),
    ("error502", AgentError, r"The agent answered HTTP 502\.", True),
    ("redirect", AgentError, r"The agent answered HTTP 307\.", False),
    ("jsonrpc_error", AgentError, LONG_ERROR, False),
    ("error_without_id", AgentError, r".+ with an error: -32700 cannot parse", False),
    ("garbage", BadReply, NOT_JSON, True),
    ("brackets", BadReply, r"The agent's answer is not JSON: '\[{199}…'", True),
    ("not_object", BadReply, r"The agent's answer is not a JSON object: '\[1, 2\]'", True),
    ("wrong_id", BadReply, WRONG_ID, True),
    ("close_midway", BadReply, MIDWAY, True),
    ("not_http", BadReply, r"The agent's answer is not HTTP: .*220 mail\.example.*", True),
    ("close", TimedOut, LOST, True),
    ("reset", TimedOut, RESET, True),
]
ONLY_WHOLE = [
    ("too_large", BadReply, r"The agent's answer is larger than 1048576 bytes\.", True),
    ("hang", TimedOut, LATE, True),
    ("slow_drip", TimedOut, LATE, True),
]
ONLY_STREAMED = [
    ("stream_error", AgentError, r".+ with an error: -32603 the model is gone", False),
    ("too_large", BadReply, r"A line of the agent's answer is larger than 1048576 bytes\.", True),
    ("hang", TimedOut, r"The agent sent nothing for 0\.5 s\.", True),
    ("slow_drip", TimedOut, r"The agent did not finish within 1 s\.", True),
]


@pytest.mark.parametrize(("mode", "kind", "text", "_taken"), WAYS_TO_FAIL + ONLY_WHOLE)
def test_trouble_with_the_task_is_told_and_never_counts_as_a_written_input(
    agent: RunningAgent, mode: str, kind: type[DeliveryError], text: str, _taken: bool
) -> None:
    error = failure_of(create_task, make_assignment(agent.url_for(mode)))
    assert type(error) is kind
    assert re.fullmatch(text, str(error)), str(error)
    assert not error.input_written


@pytest.mark.parametrize(("mode", "kind", "text", "taken"), WAYS_TO_FAIL + ONLY_WHOLE)
def test_trouble_with_an_event_says_whether_the_agent_may_have_taken_it(
    agent: RunningAgent, mode: str, kind: type[DeliveryError], text: str, taken: bool
) -> None:
    error = failure_of(send_input, make_assignment(agent.url_for(mode)))
    assert type(error) is kind
    assert re.fullmatch(text, str(error)), str(error)
    assert error.input_written is taken


@pytest.mark.parametrize(("mode", "kind", "text", "taken"), WAYS_TO_FAIL + ONLY_STREAMED)
def test_trouble_with_a_message_says_whether_the_agent_may_have_taken_it(
    agent: RunningAgent, mode: str, kind: type[DeliveryError], text: str, taken: bool
) -> None:
    error = failure_of(send_input, make_assignment(agent.url_for(mode), AcpType.SYNC))
    assert type(error) is kind
    assert re.fullmatch(text, str(error)), str(error)
    assert error.input_written is taken


def test_an_answer_that_never_ends_is_given_up(agent: RunningAgent) -> None:
    with pytest.raises(BadReply, match="The agent's answer is larger than 67108864 bytes"):
        send_input(make_assignment(agent.url_for("endless"), AcpType.SYNC))


def test_after_each_kind_of_trouble_the_next_input_goes_well(agent: RunningAgent) -> None:
    async def deliver(platform: AgentPlatform) -> None:
        for mode, *_ in WAYS_TO_FAIL + ONLY_WHOLE:
            for acp_type in (AcpType.ASYNC, AcpType.SYNC):
                with pytest.raises(DeliveryError):
                    await platform.send_input(make_assignment(agent.url_for(mode), acp_type))
                good = make_assignment(agent.url_for("ok"), AcpType.SYNC)
                assert await platform.send_input(good) == "You said: hello"

    using_platform(deliver, SHORT)
