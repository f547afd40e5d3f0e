"""The published Agentex client talks to agents through this API: tasks, events, messages."""

import inspect
from collections.abc import Callable
from typing import Any

import agentex
import pytest
from agentex.resources.agents.agents import AgentsResource, AsyncAgentsResource
from agentex.resources.events import AsyncEventsResource, EventsResource
from agentex.resources.messages.messages import AsyncMessagesResource, MessagesResource
from agentex.resources.tasks import AsyncTasksResource, TasksResource
from agentex.types.task_message_update import StreamTaskMessageDelta, StreamTaskMessageDone

from tests.agents import RunningAgent
from tests.api.talking import HI, Talk, talk_to

DONE = {
    "agents": {
        "cancel_task",
        "create_task",
        "list",
        "retrieve",
        "retrieve_by_name",
        "rpc",
        "rpc_by_name",
        "send_event",
        "send_message",
        "send_message_stream",
    },
    "tasks": {
        "cancel",
        "complete",
        "fail",
        "interrupt",
        "list",
        "retrieve",
        "retrieve_by_name",
        "terminate",
        "timeout",
        "update_by_id",
        "update_by_name",
    },
    "events": {"list", "retrieve"},
    "messages": {"create", "list", "list_paginated", "retrieve", "update"},
}
"""The methods that the tests below call."""
NOT_DONE = {
    "agents": {"delete", "delete_by_name", "register_build"},
    "tasks": {
        "delete",
        "delete_by_name",
        "query_workflow",
        "stream_events",
        "stream_events_by_name",
    },
    "events": set(),
    "messages": set(),
}
"""Those that there is no route for here."""


def methods(resource: type) -> set[str]:
    return {
        name
        for name, found in vars(resource).items()
        if inspect.isfunction(found) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("noun", "resources"),
    [
        ("agents", (AgentsResource, AsyncAgentsResource)),
        ("tasks", (TasksResource, AsyncTasksResource)),
        ("events", (EventsResource, AsyncEventsResource)),
        ("messages", (MessagesResource, AsyncMessagesResource)),
    ],
)
def test_every_method_is_known_to_be_there_or_not(noun: str, resources: Any) -> None:
    for resource in resources:
        assert methods(resource) == DONE[noun] | NOT_DONE[noun]


@pytest.fixture
def asynchronous(agentex_client: Any, client: Any, acp_agent: RunningAgent) -> Talk:
    return talk_to(client, acp_agent.url, "async")


@pytest.fixture
def synchronous(agentex_client: Any, client: Any, acp_agent: RunningAgent) -> Talk:
    return talk_to(client, acp_agent.url_for("stream"), "sync")


def test_a_task_and_its_events(agentex_client: Any, asynchronous: Talk) -> None:
    agent, agents = asynchronous.agent_id, agentex_client.agents
    task = agents.create_task(
        agent, params={"name": "t", "params": {"p": 1}, "task_metadata": {"team": "x"}}
    ).result
    assert (task.name, task.status, task.params) == ("t", "RUNNING", {"p": 1})
    event = agents.send_event(agent, params={"task_id": task.id, "content": HI}).result
    assert (event.task_id, event.agent_id, event.content.content) == (task.id, agent, "hi")
    by_name = agents.send_event(agent_name="talker", params={"task_name": "t", "content": HI})
    events = agentex_client.events.list(task_id=task.id, agent_id=agent)
    assert [each.id for each in events] == [event.id, by_name.result.id]
    newer = agentex_client.events.list(
        task_id=task.id, agent_id=agent, last_processed_event_id=event.id, limit=10
    )
    assert [each.id for each in newer] == [by_name.result.id]
    assert agentex_client.events.retrieve(event.id).to_dict() == event.to_dict()
    assert agents.cancel_task(agent, params={"task_id": task.id}).result.status == "CANCELED"


def test_raw_rpc_by_id_and_by_name(agentex_client: Any, asynchronous: Talk) -> None:
    agents = agentex_client.agents
    made = agents.rpc(asynchronous.agent_id, method="task/create", params={"name": "t"}, id=7)
    assert (made.id, made.error, made.result.name) == (None, None, "t")
    stopped = agents.rpc_by_name("talker", method="task/interrupt", params={"task_name": "t"})
    assert stopped.result.status == "INTERRUPTED"
    refused = agents.rpc(asynchronous.agent_id, method="message/send", params={"content": HI})
    assert refused.result is None
    assert refused.error["code"] == -32603
    with pytest.raises(agentex.NotFoundError):
        agents.rpc("nobody", method="task/create", params={})
    with pytest.raises(agentex.UnprocessableEntityError, match="give either task_id or task_name"):
        agents.rpc(asynchronous.agent_id, method="event/send", params={})


def test_a_conversation(agentex_client: Any, synchronous: Talk) -> None:
    agent = synchronous.agent_id
    answer = agentex_client.agents.send_message(agent, params={"task_name": "t", "content": HI})
    (reply,) = answer.result
    assert reply.content.content == "Hello world"
    assert reply.content.author == "agent"
    by_name = agentex_client.agents.send_message(
        agent_name="talker", params={"task_id": reply.task_id, "content": HI}
    )
    assert by_name.result[0].task_id == reply.task_id
    messages = agentex_client.messages
    newest = messages.list(task_id=reply.task_id, limit=2, page_number=1, order_direction="desc")
    assert [each.content.content for each in newest] == ["Hello world", "hi"]
    page = messages.list_paginated(task_id=reply.task_id, limit=3)
    assert (len(page.data), page.has_more) == (3, True)
    page = messages.list_paginated(task_id=reply.task_id, limit=3, cursor=page.next_cursor)
    assert (len(page.data), page.has_more) == (1, False)
    assert messages.retrieve(reply.id).to_dict() == reply.to_dict()


def test_a_conversation_that_is_streamed(agentex_client: Any, synchronous: Talk) -> None:
    asked = agentex_client.agents.send_message_stream(
        synchronous.agent_id, params={"task_name": "t", "content": HI}
    )
    updates = [each.result for each in asked]
    deltas = [each for each in updates if isinstance(each, StreamTaskMessageDelta)]
    assert "".join(each.delta.text_delta or "" for each in deltas) == "Hello world"  # type: ignore[union-attr]
    assert isinstance(updates[-1], StreamTaskMessageDone)
    task = agentex_client.tasks.retrieve_by_name("t")
    kept = agentex_client.messages.list(task_id=task.id)[0]
    assert {each.parent_task_message.id for each in updates} == {kept.id}


def test_what_agents_say_of_their_own(agentex_client: Any, asynchronous: Talk) -> None:
    messages = agentex_client.messages
    task = agentex_client.agents.create_task(asynchronous.agent_id, params={"name": "t"}).result
    said = messages.create(
        task_id=task.id,
        content={"type": "data", "author": "agent", "data": {"x": 1}},
        streaming_status="IN_PROGRESS",
    )
    changed = messages.update(
        said.id, task_id=task.id, content=HI | {"author": "agent"}, streaming_status="DONE"
    )
    assert (changed.id, changed.content.content) == (said.id, "hi")
    several = messages.batch.create(task_id=task.id, contents=[HI, HI])
    rewritten = messages.batch.update(task_id=task.id, updates={several[0].id: HI})
    assert [each.id for each in rewritten] == [several[0].id]
    filters = '{"content": {"author": "agent"}}'
    assert [each.id for each in messages.list(task_id=task.id, filters=filters)] == [said.id]


def test_tasks_are_read_and_changed(agentex_client: Any, asynchronous: Talk) -> None:
    agent, tasks = asynchronous.agent_id, agentex_client.tasks
    made = agentex_client.agents.create_task(
        agent, params={"name": "t", "params": {"p": 1}, "task_metadata": {"schedule_id": "s"}}
    ).result
    assert tasks.retrieve(made.id, relationships=["agents"]).agents[0].id == agent
    assert tasks.retrieve_by_name("t").params == {"p": 1}
    (listed,) = tasks.list(
        agent_id=agent,
        agent_name="talker",
        status="RUNNING",
        task_metadata='{"schedule_id": "s"}',
        limit=10,
        page_number=1,
        order_by="created_at",
        order_direction="asc",
        relationships=["agents"],
    )
    assert (listed.id, listed.agents[0].name) == (made.id, "talker")
    assert "params" not in listed.to_dict()
    assert tasks.update_by_id(made.id, task_metadata={"a": 1}).task_metadata == {"a": 1}
    assert tasks.update_by_name("t", merge_params={"q": 2}).params == {"p": 1, "q": 2}
    (found,) = agentex_client.agents.list(
        task_id=made.id, limit=5, page_number=1, order_by="name", order_direction="asc"
    )
    assert found.id == agent
    card = '{"permits_capable": true}'
    assert agentex_client.agents.list(agent_card_metadata=card) == []


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("cancel", "CANCELED"),
        ("complete", "COMPLETED"),
        ("fail", "FAILED"),
        ("interrupt", "INTERRUPTED"),
        ("terminate", "TERMINATED"),
        ("timeout", "TIMED_OUT"),
    ],
)
def test_a_task_ends(agentex_client: Any, asynchronous: Talk, method: str, status: str) -> None:
    made = agentex_client.agents.create_task(asynchronous.agent_id, params={}).result
    ended = getattr(agentex_client.tasks, method)(made.id, reason="because")
    assert (ended.status, ended.status_reason) == (status, "because")


def test_errors_are_the_clients_own(agentex_client: Any, asynchronous: Talk) -> None:
    absent: list[Callable[[], Any]] = [
        lambda: agentex_client.tasks.retrieve("nobody"),
        lambda: agentex_client.events.retrieve("nobody"),
        lambda: agentex_client.messages.retrieve("nobody"),
        lambda: agentex_client.messages.list(task_id="nobody"),
        lambda: agentex_client.tasks.update_by_name("nobody", task_metadata={}),
    ]
    for asked in absent:
        with pytest.raises(agentex.NotFoundError, match="'nobody' does not exist"):
            asked()
    made = agentex_client.agents.create_task(asynchronous.agent_id, params={}).result
    agentex_client.tasks.complete(made.id)
    with pytest.raises(agentex.BadRequestError, match="is COMPLETED; only a task that is"):
        agentex_client.tasks.fail(made.id)
    with pytest.raises(agentex.UnprocessableEntityError, match="task_metadata: is not JSON"):
        agentex_client.tasks.list(task_metadata="{")
