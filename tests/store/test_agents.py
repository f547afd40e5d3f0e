"""Agents in PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from schedules_pipeline.services.conversation_port import AgentFilter, AgentOrder, Span
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.factories import NOW, an_agent


def test_an_agent_comes_back_as_it_was_stored(store: PostgresStore) -> None:
    agent = an_agent(registration_metadata={"a": [1, None, "ü"]}, agent_input_type="json")
    assert store.run(lambda tx: tx.agents.register(agent)) == agent
    found = store.run(lambda tx: tx.agents.get(agent.id))
    assert found is not None
    assert found[0] == agent
    assert store.run(lambda tx: tx.agents.get_by_name(agent.name)) == agent


def test_registering_again_keeps_identity_and_takes_the_rest(store: PostgresStore) -> None:
    first = an_agent()
    later = NOW + timedelta(hours=1)
    second = an_agent(id="other", api_key="other", acp_url="http://new", registered_at=later)
    store.run(lambda tx: tx.agents.register(first))
    assert store.run(lambda tx: tx.agents.register(second)) == replace(
        first, acp_url="http://new", updated_at=later, registered_at=later
    )


def test_an_id_that_is_another_agents_is_not_given_away(store: PostgresStore) -> None:
    store.run(lambda tx: tx.agents.register(an_agent()))
    assert store.run(lambda tx: tx.agents.register(an_agent(name="thief"))) is None
    assert store.run(lambda tx: tx.agents.get_by_name("thief")) is None


def test_twenty_at_once_register_one_agent(store: PostgresStore) -> None:
    def register(number: int) -> str:
        agent = an_agent(id=f"id-{number}", api_key=f"key-{number}")
        kept = store.run(lambda tx: tx.agents.register(agent))
        assert kept is not None
        return kept.id + kept.api_key

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(register, range(20)))) == 1


def test_absent_ones_are_none(store: PostgresStore) -> None:
    assert store.run(lambda tx: tx.agents.get("nobody")) is None
    assert store.run(lambda tx: tx.agents.get_by_name("nobody")) is None
    assert (
        store.run(lambda tx: tx.agents.list(AgentFilter(), AgentOrder.NAME, Span(limit=10))) == []
    )
