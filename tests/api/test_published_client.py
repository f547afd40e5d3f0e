"""The published Agentex client works against this API unchanged, sync and async."""

import inspect
from datetime import UTC, datetime
from typing import Any

import agentex
import pytest
from agentex.resources.agents.schedules import AsyncSchedulesResource, SchedulesResource

from tests.api.factories import Api


def test_a_schedule_lives_and_dies_through_the_client(agentex_client: Any, api: Api) -> None:
    schedules = agentex_client.agents.schedules
    created = schedules.create(
        api.agent_id,
        name="daily",
        description="every morning",
        cron_expression="0 9 * * mon-fri",
        timezone="Europe/Berlin",
        start_at=datetime(2026, 1, 1, tzinfo=UTC),
        task_params={"p": 1},
        task_metadata={"team": "x"},
        initial_input={"content": "good morning"},
    )
    assert created.name == "daily"
    assert created.initial_input.content == "good morning"
    assert created.initial_input_method == "event/send"
    assert created.state == "ACTIVE"
    assert created.next_action_times is not None
    assert len(created.next_action_times) == 10
    assert created.start_at == datetime(2026, 1, 1, tzinfo=UTC)

    by_id = schedules.retrieve(created.id, agent_id=api.agent_id)
    by_name = schedules.retrieve_by_name("daily", agent_id=api.agent_id)
    assert by_id.to_dict() == by_name.to_dict() == created.to_dict()

    listed = schedules.list(api.agent_id, include_live=True, limit=10)
    assert (listed.total, listed.run_schedules[0].id) == (1, created.id)

    gone = schedules.delete(created.id, agent_id=api.agent_id)
    assert gone.message == f"Run schedule '{created.id}' deleted successfully"
    assert schedules.list(api.agent_id).total == 0


def test_every_edit_through_the_client(agentex_client: Any, api: Api) -> None:
    schedules, agent = agentex_client.agents.schedules, api.agent_id
    made = api.created(task_params={"p": 1}, description="d")
    at = made["id"]
    updated = schedules.update(at, agent_id=agent, cron_expression="0 9 * * *", task_params=None)
    assert (updated.cron_expression, updated.interval_seconds) == ("0 9 * * *", None)
    assert (updated.task_params, updated.description) == (None, "d")
    assert schedules.pause(at, agent_id=agent, note="holidays").state == "PAUSED"
    assert schedules.resume(at, agent_id=agent).state == "ACTIVE"
    assert schedules.trigger(at, agent_id=agent).num_actions_taken == 0
    assert updated.next_action_times is not None
    nominal = updated.next_action_times[2]
    skipped = schedules.skip(at, agent_id=agent, scheduled_time=nominal)
    assert skipped.skipped_action_times == [nominal]
    assert schedules.skip(at, agent_id=agent, scheduled_time=nominal).skipped_action_times == [
        nominal
    ]
    assert schedules.unskip(at, agent_id=agent, scheduled_time=nominal).skipped_action_times == []
    with pytest.raises(agentex.BadRequestError, match="Cannot unskip"):
        schedules.unskip(at, agent_id=agent, scheduled_time=nominal)
    with pytest.raises(agentex.UnprocessableEntityError, match="give one of them"):
        schedules.update(at, agent_id=agent, cron_expression="0 9 * * *", interval_seconds=60)
    assert schedules.delete(at, agent_id=agent).id == at
    with pytest.raises(agentex.NotFoundError):
        schedules.pause(at, agent_id=agent)


def test_every_edit_by_name_through_the_client(agentex_client: Any, api: Api) -> None:
    schedules, agent = agentex_client.agents.schedules, api.agent_id
    made = api.created()
    renamed = schedules.update_by_name("hourly", agent_id=agent, body_name="renamed", paused=True)
    assert (renamed.id, renamed.name, renamed.state) == (made["id"], "renamed", "PAUSED")
    assert schedules.resume_by_name("renamed", agent_id=agent, note="back").state == "ACTIVE"
    assert schedules.pause_by_name("renamed", agent_id=agent).state == "PAUSED"
    assert schedules.trigger_by_name("renamed", agent_id=agent).id == made["id"]
    with pytest.raises(agentex.NotFoundError):
        schedules.trigger_by_name("hourly", agent_id=agent)


def test_delete_by_name_through_the_client(agentex_client: Any, api: Api) -> None:
    created = api.created()
    gone = agentex_client.agents.schedules.delete_by_name("hourly", agent_id=api.agent_id)
    assert gone.id == created["id"]


def test_agents_through_the_client(agentex_client: Any, api: Api) -> None:
    assert [agent.id for agent in agentex_client.agents.list()] == [api.agent_id]
    assert agentex_client.agents.retrieve(api.agent_id).name == "reporter"
    assert agentex_client.agents.retrieve_by_name("reporter").acp_type == "async"


def test_errors_become_the_clients_own_exceptions(agentex_client: Any, api: Api) -> None:
    schedules = agentex_client.agents.schedules
    api.created()
    with pytest.raises(agentex.NotFoundError):
        schedules.retrieve("absent", agent_id=api.agent_id)
    with pytest.raises(agentex.BadRequestError, match="already exists"):
        schedules.create(
            api.agent_id, name="hourly", interval_seconds=60, initial_input={"content": "x"}
        )
    with pytest.raises(agentex.UnprocessableEntityError, match="cron_expression"):
        schedules.create(
            api.agent_id, name="new", cron_expression="nonsense", initial_input={"content": "x"}
        )


INPUT = {"content": "hi"}
AT = datetime(2090, 1, 1, tzinfo=UTC)
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "retrieve": ("id", {}),
    "retrieve_by_name": ("name", {}),
    "update": ("id", {"description": "new"}),
    "update_by_name": ("name", {"description": "new"}),
    "pause": ("id", {"note": "why"}),
    "pause_by_name": ("name", {"note": "why"}),
    "resume": ("id", {"note": "why"}),
    "resume_by_name": ("name", {"note": "why"}),
    "trigger": ("id", {}),
    "trigger_by_name": ("name", {}),
    "skip": ("id", {"scheduled_time": AT}),
    "unskip": ("id", {"scheduled_time": AT}),
    "delete": ("id", {}),
    "delete_by_name": ("name", {}),
}
"""What is asked of one schedule: how it is addressed, and what is said."""


def _tell(client: Any, method: str, api: Api, place: str, **options: Any) -> Any:
    asked = getattr(client.agents.schedules, method)
    return asked(place, agent_id=api.agent_id, **METHODS[method][1], **options)


def test_the_table_names_every_method_of_both_clients() -> None:
    for resource in (SchedulesResource, AsyncSchedulesResource):
        methods = inspect.getmembers(resource, inspect.isfunction)
        named = {name for name, _ in methods if not name.startswith("_")}
        assert named == {*METHODS, "create", "list"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_answered(agentex_client: Any, api: Api, method: str) -> None:
    made = api.created(fire_at="2090-01-01T00:00:00Z")
    if method == "unskip":
        _tell(agentex_client, "skip", api, made["id"])
    answer = _tell(agentex_client, method, api, made[METHODS[method][0]])
    assert answer.id == made["id"]
    if method.startswith("delete"):
        assert answer.message.startswith("Run schedule '")
    else:
        assert answer.initial_input.content == "hi"
        assert answer.state == ("PAUSED" if method.startswith("pause") else "ACTIVE")
        # What the client does not know of is kept for whoever asks.
        assert answer.to_dict()["version"] >= 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_is_not_there(agentex_client: Any, api: Api, method: str) -> None:
    with pytest.raises(agentex.NotFoundError) as refused:
        _tell(agentex_client, method, api, "absent")
    assert refused.value.body == {
        "message": f"Run schedule 'absent' for agent '{api.agent_id}' does not exist.",
        "code": 404,
        "data": None,
    }


def test_nothing_can_be_made_or_listed_for_an_absent_agent(agentex_client: Any, api: Api) -> None:
    schedules = agentex_client.agents.schedules
    with pytest.raises(agentex.NotFoundError, match="Item with id 'absent' does not exist"):
        schedules.create("absent", name="n", interval_seconds=60, initial_input=INPUT)
    with pytest.raises(agentex.NotFoundError, match="Item with id 'absent' does not exist"):
        schedules.list("absent")
    with pytest.raises(agentex.UnprocessableEntityError, match="limit"):
        schedules.list(api.agent_id, limit=0)


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("retrieve")])
def test_every_change_heeds_the_version_that_is_named(
    agentex_client: Any, api: Api, method: str
) -> None:
    """The client has no class of its own for 412."""
    made = api.created(fire_at="2090-01-01T00:00:00Z")
    headers = {"If-Match": '"9"'}
    with pytest.raises(agentex.APIStatusError) as refused:
        _tell(agentex_client, method, api, made[METHODS[method][0]], extra_headers=headers)
    assert refused.value.status_code == 412
