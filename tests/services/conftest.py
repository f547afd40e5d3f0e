"""One recording agent for all tests of this folder; each test tells it apart by its own fires."""

from collections.abc import Iterator

import pytest

from tests.agents import RunningAgent, start_agent


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """A real ACP agent process; `recorder.url_for(mode)` is an agent that behaves so."""
    with start_agent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent
