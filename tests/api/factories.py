"""Valid bodies by default, and a client that knows its agent."""

from dataclasses import dataclass
from typing import Any

from httpx import Client, Response


def agent_body(**changes: Any) -> dict[str, Any]:
    return {
        "name": "reporter",
        "description": "Writes reports",
        "acp_url": "http://127.0.0.1:9",
        "acp_type": "async",
    } | changes


def schedule_body(**changes: Any) -> dict[str, Any]:
    """An hourly schedule; a cadence among the changes takes the place of the interval."""
    body: dict[str, Any] = {"name": "hourly", "initial_input": {"content": "hi"}}
    if not {"cron_expression", "interval_seconds", "fire_at"} & changes.keys():
        body["interval_seconds"] = 3600
    return body | changes


@dataclass(frozen=True)
class Api:
    client: Client
    agent_id: str

    @property
    def url(self) -> str:
        return f"/agents/{self.agent_id}/schedules"

    def create(self, **changes: Any) -> Response:
        return self.client.post(self.url, json=schedule_body(**changes))

    def created(self, **changes: Any) -> dict[str, Any]:
        response = self.create(**changes)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body
