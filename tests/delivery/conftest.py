"""One recording agent for all tests of delivery: each looks at what came under its own URL."""

from collections.abc import Iterator

import pytest

from tests.agents import RunningAgent, start_agent


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """A running agent; `agent.url_for(mode)` says how it behaves."""
    with start_agent(tmp_path_factory.mktemp("agent"), "--envelopes") as running:
        yield running
