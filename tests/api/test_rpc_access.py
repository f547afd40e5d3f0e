"""Who may call an agent by hand: method by method what is asked, told, and never passed on."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from schedules_pipeline.domain.fire import task_id
from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.wiring import Wiring
from tests.agents import RunningAgent
from tests.api.factories import agent_body
from tests.api.guarded import SAID, Things, a_key, some_things
from tests.api.talking import Talk, talk_to
from tests.ledger import query
from tests.provider import StubProvider

ANN = {"x-user": "ann"}
CREATE = ("task", "*", "create")


@pytest.fixture
def agent(asked: Wiring, http: httpx.Client, acp_agent: RunningAgent) -> Talk:
    return talk_to(http, acp_agent.url, "async")


@pytest.fixture
def speaker(asked: Wiring, http: httpx.Client, acp_agent: RunningAgent) -> Talk:
    return talk_to(http, acp_agent.url, "sync", name="speaker")


def knows(provider: StubProvider, talk: Talk, *rights: tuple[str, str, str]) -> None:
    """Ann may call this agent; and these."""
    provider.knows("ann", ("agent", talk.agent_id, "execute"), *rights)


def named(name: str, *operations: str) -> list[tuple[str, str, str]]:
    """Rights to the task of this name."""
    return [("task", task_id(name), operation) for operation in operations]


def of_task(provider: StubProvider, talk: Talk) -> list[tuple[str, ...]]:
    """What was asked and told after the agent's `execute`."""
    # Who this is, is known for a minute.
    agents, *rest = [call for call in provider.asked() if call != ("authn",)]
    assert agents == ("check", f"agent:{talk.agent_id}", "execute")
    return rest


def made(name: str) -> list[tuple[str, ...]]:
    about = f"task:{task_id(name)}"
    return [("check", "task:*", "create"), ("register", about), ("grant", about, "create")]


def tasks(wiring: Wiring) -> list[str]:
    return [row.name for row in query(wiring.store, "select name from tasks order by name")]


# --- what is asked, method by method --------------------------------------------------------------


def test_a_task_that_is_made_is_its_makers_and_its_agents(
    agent: Talk, provider: StubProvider
) -> None:
    knows(provider, agent, CREATE)

    agent.result("task/create", name="t", headers=ANN)

    (register,) = [call for call in provider.calls if call.path.endswith("/register")]
    assert register.body is not None
    assert register.body["parent"] == {"type": "agent", "selector": agent.agent_id}
    assert of_task(provider, agent) == made("t")


@pytest.mark.parametrize(
    ("method", "operation"),
    [("event/send", "update"), ("task/interrupt", "update"), ("task/cancel", "cancel")],
)
@pytest.mark.parametrize("by", ["task_id", "task_name"])
def test_to_a_task_that_there_is_one_needs_the_right_of_the_method(
    agent: Talk, provider: StubProvider, method: str, operation: str, by: str
) -> None:
    knows(provider, agent, CREATE)
    agent.result("task/create", name="t", headers=ANN)
    provider.asked()
    which: dict[str, Any] = {by: task_id("t") if by == "task_id" else "t"}
    if method == "event/send":
        which["content"] = SAID

    knows(provider, agent, *named("t", operation))
    agent.result(method, **which, headers=ANN)

    assert of_task(provider, agent) == [("check", f"task:{task_id('t')}", operation)]


def test_a_message_makes_a_task_or_is_said_in_ones_own(
    speaker: Talk, provider: StubProvider
) -> None:
    knows(provider, speaker, CREATE)
    speaker.result("message/send", task_name="m", content=SAID, headers=ANN)
    assert of_task(provider, speaker) == made("m")

    knows(provider, speaker, *named("m", "update"))
    for which in ({"task_name": "m"}, {"task_id": task_id("m")}):
        speaker.result("message/send", **which, content=SAID, headers=ANN)
        assert of_task(provider, speaker) == [("check", f"task:{task_id('m')}", "update")]


def test_who_finds_a_task_by_creating_it_needs_both_rights(
    agent: Talk, provider: StubProvider
) -> None:
    """It gets new parameters, and its agent is told of it again."""
    knows(provider, agent, CREATE, *named("t", "update"))
    agent.result("task/create", name="t", headers=ANN)
    provider.asked()

    agent.result("task/create", name="t", params={"p": 1}, headers=ANN)

    assert of_task(provider, agent) == [
        ("check", "task:*", "create"),
        ("check", f"task:{task_id('t')}", "update"),
    ]


# --- strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["event/send", "task/cancel", "task/interrupt"])
def test_anothers_task_is_as_if_it_were_absent_and_nothing_happens_to_it(
    agent: Talk, asked: Wiring, provider: StubProvider, acp_agent: RunningAgent, method: str
) -> None:
    knows(provider, agent, CREATE)
    task = agent.result("task/create", name="t", headers=ANN)["id"]
    provider.knows("bob", ("agent", agent.agent_id, "execute"), CREATE)
    before = len(acp_agent.received())
    more = {"content": SAID} if method == "event/send" else {}
    words = []

    for key, value in (("name", "t"), ("name", "no"), ("id", task), ("id", "no")):
        answer = agent.post(method, **{f"task_{key}": value}, **more, headers={"x-user": "bob"})
        assert answer.status_code == 404
        words.append(answer.json()["message"].replace(f"'{value}'", "'…'"))

    assert (
        words
        == ["Item with name '…' does not exist."] * 2 + ["Item with id '…' does not exist."] * 2
    )
    assert len(acp_agent.received()) == before
    (row,) = query(asked.store, "select status, (select count(*) from events) as said from tasks")
    assert (row.status, row.said) == ("RUNNING", 0)


def test_who_may_make_tasks_does_not_get_anothers_by_its_name(
    agent: Talk, speaker: Talk, provider: StubProvider
) -> None:
    knows(provider, agent, CREATE)
    agent.result("task/create", name="t", params={"p": 1}, headers=ANN)
    rights = [("agent", talk.agent_id, "execute") for talk in (agent, speaker)]
    provider.knows("bob", *rights, CREATE)

    found = agent.post("task/create", name="t", params={}, headers={"x-user": "bob"})
    said = speaker.post("message/send", task_name="t", content=SAID, headers={"x-user": "bob"})

    assert (found.status_code, said.status_code) == (404, 404)
    assert found.json()["message"] == "Item with name 't' does not exist."
    knows(provider, agent, *named("t", "read"))
    kept = agent.client.get("/tasks/name/t", headers=ANN).json()
    assert kept["params"] == {"p": 1}


def test_who_may_only_see_a_task_is_refused_with_403(agent: Talk, provider: StubProvider) -> None:
    knows(provider, agent, CREATE)
    agent.result("task/create", name="t", headers=ANN)
    knows(provider, agent, *named("t", "read"))

    refused = agent.post("task/cancel", task_name="t", headers=ANN)

    assert (refused.status_code, refused.json()["message"]) == (403, "The provider says no")


def test_of_anothers_task_nobody_learns_whose_it_is(
    asked: Wiring, http: httpx.Client, provider: StubProvider
) -> None:
    things, other = some_things(asked), some_things(asked)
    read = [("agent", each.agent_id, "read") for each in (things, other)]
    provider.knows("ann", *read, ("task", things.task_id, "read"))

    def shown(path: str, **asks: str) -> Any:
        return http.get(path, params=asks, headers=ANN).json()

    assert [a["id"] for a in shown("/agents", task_id=things.task_id)] == [things.agent_id]
    assert shown("/agents", task_id=other.task_id) == shown("/agents", task_id="no") == []
    for agent_id in (other.agent_id, "no"):
        assert shown("/events", task_id=things.task_id, agent_id=agent_id) == []


def test_an_agents_key_reads_and_writes_its_own_tasks_and_none_of_anothers(
    keyed: Wiring, http: httpx.Client
) -> None:
    own, other = some_things(keyed), some_things(keyed)
    key = {"x-agent-api-key": own.agent_key}

    def statuses(things: Things) -> list[int]:
        task, message = things.task_id, things.values["message_id"]
        answers = [
            http.get("/messages", params={"task_id": task}, headers=key),
            http.get(f"/messages/{message}", headers=key),
            http.post("/messages", json={"task_id": task, "content": SAID}, headers=key),
            # Named in the query, a task of one's own does not stand for the one in the body.
            http.post(
                "/messages",
                params={"task_id": own.task_id},
                json={"task_id": task, "content": SAID},
                headers=key,
            ),
            # Nor does it open a message that is another task's.
            http.put(
                f"/messages/{message}", json={"task_id": own.task_id, "content": SAID}, headers=key
            ),
            http.post(f"/tasks/{task}/cancel", headers=key),
        ]
        return [answer.status_code for answer in answers]

    assert statuses(other) == [404] * 6
    assert statuses(own) == [200] * 6
    listed = http.get("/tasks", headers=key).json()
    assert [task["id"] for task in listed] == [own.task_id]


@pytest.mark.parametrize("body", [{}, {"task_id": 7, "content": SAID}, [], "{", None])
def test_a_body_that_names_no_task_is_422_before_anything_is_looked_at(
    keyed: Wiring, http: httpx.Client, body: Any
) -> None:
    headers = {**a_key(keyed, Role.EDITOR), "content-type": "application/json"}
    content = body if isinstance(body, str) else json.dumps(body)

    refused = http.post("/messages", content=content, headers=headers)

    assert refused.status_code == 422
    if body == {}:
        assert refused.json()["message"] == ("task_id: is missing, or is no text; give a task's id")


# --- what fails in between ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failing", "told"), [("register", []), ("grant", ["grant", "deregister"])]
)
def test_a_task_that_the_provider_does_not_take_is_not_there(
    agent: Talk,
    asked: Wiring,
    provider: StubProvider,
    acp_agent: RunningAgent,
    failing: str,
    told: list[str],
) -> None:
    knows(provider, agent, CREATE)
    provider.answers[f"/v1/authz/{failing}"] = (503, b"")
    before = len(acp_agent.received())

    assert agent.post("task/create", name="t", headers=ANN).status_code == 503

    assert [call[0] for call in of_task(provider, agent)] == ["check", "register", *told]
    assert tasks(asked) == []
    assert len(acp_agent.received()) == before
    provider.answers.clear()
    assert agent.result("task/create", name="t", headers=ANN)["id"] == task_id("t")


def test_a_task_that_somebody_makes_meanwhile_is_a_new_question(
    agent: Talk, asked: Wiring, provider: StubProvider
) -> None:
    knows(provider, agent, CREATE)
    row = {"id": task_id("t"), "agent": agent.agent_id}
    provider.before["/v1/authz/check"] = lambda: provider.before.update(
        {
            "/v1/authz/check": lambda: query(
                asked.store,
                "insert into tasks (id, name, agent_id) values (:id, 't', :agent) returning id",
                **row,
            )
        }
    )

    refused = agent.post("task/create", name="t", params={"stolen": True}, headers=ANN)

    assert (refused.status_code, refused.json()["message"]) == (
        404,
        "Item with name 't' does not exist.",
    )
    about = f"task:{task_id('t')}"
    assert of_task(provider, agent) == [
        ("check", "task:*", "create"),
        ("check", about, "update"),
        ("check", about, "read"),
    ]
    assert [row.params for row in query(asked.store, "select params from tasks")] == [None]


# --- keys -----------------------------------------------------------------------------------------


def test_an_idempotency_key_of_a_call_is_its_principals(
    keyed: Wiring, http: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(http, acp_agent.url, "async")

    def made_by(key: dict[str, str]) -> str:
        answer = talk.post("task/create", headers={**key, "Idempotency-Key": "same"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["result"]["id"])

    ann, bob = a_key(keyed, Role.EDITOR, "ann"), a_key(keyed, Role.EDITOR, "bob")
    assert made_by(ann) == made_by(ann) != made_by(bob)


def test_no_credential_reaches_the_agent(
    keyed: Wiring, http: httpx.Client, acp_agent: RunningAgent
) -> None:
    talk = talk_to(http, acp_agent.url, "async")
    key = a_key(keyed, Role.EDITOR)
    secret = f"secret-{uuid4().hex}"
    kept_back = ("x-api-key", "cookie", "x-acting-user-api-key", "x-forwarded-access-token")
    headers = {**key, **dict.fromkeys(kept_back, secret), "x-team": "blue"}

    task = talk.result("task/create", name=uuid4().hex, headers=headers)["id"]

    (told,) = [each for each in acp_agent.received() if each["task_id"] == task]
    text = json.dumps(told)
    assert secret not in text
    assert key["authorization"].removeprefix("Bearer ") not in text
    own = talk.post("task/create", headers={"x-agent-api-key": agent_key(http)})
    assert own.status_code in (403, 404)


def agent_key(http: httpx.Client) -> str:
    made = http.post("/agents/register", json=agent_body(name="asks"))
    return str(made.json()["agent_api_key"])
