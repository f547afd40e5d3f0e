"""The published Agentex client works against this API unchanged."""

from collections.abc import Iterator
from datetime import UTC, datetime

import agentex
import pytest
from agentex import Agentex

from schedules_pipeline.wiring import Wiring
from tests.api.factories import Api


@pytest.fixture
def agentex_client(base_url: str, wiring: Wiring) -> Iterator[Agentex]:
    with Agentex(base_url=base_url, api_key="unused", max_retries=0) as opened:
        yield opened


def test_a_schedule_lives_and_dies_through_the_client(agentex_client: Agentex, api: Api) -> None:
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


def test_every_edit_through_the_client(agentex_client: Agentex, api: Api) -> None:
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


def test_every_edit_by_name_through_the_client(agentex_client: Agentex, api: Api) -> None:
    schedules, agent = agentex_client.agents.schedules, api.agent_id
    made = api.created()
    renamed = schedules.update_by_name("hourly", agent_id=agent, body_name="renamed", paused=True)
    assert (renamed.id, renamed.name, renamed.state) == (made["id"], "renamed", "PAUSED")
    assert schedules.resume_by_name("renamed", agent_id=agent, note="back").state == "ACTIVE"
    assert schedules.pause_by_name("renamed", agent_id=agent).state == "PAUSED"
    assert schedules.trigger_by_name("renamed", agent_id=agent).id == made["id"]
    with pytest.raises(agentex.NotFoundError):
        schedules.trigger_by_name("hourly", agent_id=agent)


def test_delete_by_name_through_the_client(agentex_client: Agentex, api: Api) -> None:
    created = api.created()
    gone = agentex_client.agents.schedules.delete_by_name("hourly", agent_id=api.agent_id)
    assert gone.id == created["id"]


def test_agents_through_the_client(agentex_client: Agentex, api: Api) -> None:
    assert [agent.id for agent in agentex_client.agents.list()] == [api.agent_id]
    assert agentex_client.agents.retrieve(api.agent_id).name == "reporter"
    assert agentex_client.agents.retrieve_by_name("reporter").acp_type == "async"


def test_errors_become_the_clients_own_exceptions(agentex_client: Agentex, api: Api) -> None:
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
