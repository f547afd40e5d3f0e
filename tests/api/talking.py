"""Agents that are really there, and JSON-RPC to them."""

from dataclasses import dataclass
from typing import Any

from httpx import Client, Response

from tests.agents import RunningAgent
from tests.api.factories import agent_body

HI = {"type": "text", "author": "user", "content": "hi"}


@dataclass(frozen=True)
class Talk:
    """To one agent, through the API."""

    client: Client
    agent_id: str
    agent_name: str

    def post(self, method: str, /, *, headers: Any = None, **params: Any) -> Response:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        return self.client.post(f"/agents/{self.agent_id}/rpc", json=body, headers=headers)

    def result(self, method: str, /, **params: Any) -> Any:
        answer = self._answer(method, **params)
        assert answer["error"] is None, answer
        return answer["result"]

    def error(self, method: str, /, **params: Any) -> str:
        answer = self._answer(method, **params)
        assert answer["result"] is None, answer
        assert answer["error"]["code"] == -32603
        assert answer["error"]["data"] is None
        message: str = answer["error"]["message"]
        return message

    def received(
        self, agent: RunningAgent, task_id: str, method: str | None = None
    ) -> list[dict[str, Any]]:
        """What the agent's process was told under this agent's id: named tasks keep their ids."""
        return [
            each
            for each in agent.received(method)
            if (each["agent_id"], each["task_id"]) == (self.agent_id, task_id)
        ]

    def _answer(self, method: str, /, **params: Any) -> Any:
        response = self.post(method, **params)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert set(answer) == {"jsonrpc", "result", "error", "id"}
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", None)
        return answer


def talk_to(client: Client, acp_url: str, acp_type: str, name: str = "talker") -> Talk:
    """Registers an agent that listens there."""
    body = agent_body(name=name, acp_url=acp_url, acp_type=acp_type)
    response = client.post("/agents/register", json=body)
    assert response.status_code == 200, response.text
    return Talk(client, response.json()["id"], name)
