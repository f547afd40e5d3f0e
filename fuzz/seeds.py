"""What a fuzzed database holds beforehand, so that made-up requests meet real things."""

from typing import Any

import httpx
import psycopg

from fuzz.hooks import EXAMPLE

NOBODY_LISTENS = "http://127.0.0.1:9"
TYPES = ("async", "sync", "agentic")
SCHEDULES = 120
TASKS = 60
# The occurrence that the document has as its example is some of these schedules'.
CADENCES: list[dict[str, Any]] = [
    {"cron_expression": "0 9 * * mon-fri", "timezone": "Europe/Berlin"},
    {"fire_at": EXAMPLE},
    {"interval_seconds": 3_600, "jitter_seconds": 600},
]

Seeds = dict[str, list[str]]
"""Ids and names of real things, by the name of the parameter that takes them."""

ENDED = """
update fires set state = 'missed', reason = 'stale', finished_at = now() where id = any(%s)
"""
MADE = """
insert into tasks (id, name, agent_id, status, params, task_metadata)
select 'task-' || n, 'task ' || n, %s, 'RUNNING', '{"p": 1}', '{"team": "x"}'
from generate_series(1, %s) n
"""
SENT = """
insert into events (id, task_id, agent_id, content)
select 'event-' || n, 'task-' || n, %s, '{"type": "text", "author": "user", "content": "hi"}'
from generate_series(1, %s) n
"""
SAID = """
insert into messages (id, task_id, content, streaming_status, created_at)
select 'message-' || n, 'task-' || n, '{"type": "text", "author": "agent", "content": "yes"}',
       'DONE', now()
from generate_series(1, %s) n
"""


def sow(api_url: str, database_url: str) -> Seeds:
    """Agents of each type, schedules of the first, fires, tasks, a backfill.

    One agent has them all: an agent and a schedule that are drawn apart from each other then fit.
    """
    with httpx.Client(base_url=api_url, timeout=30) as client:
        agents = [_agent(client, acp_type) for acp_type in TYPES]
        schedules = [_schedule(client, agents[0], number) for number in range(SCHEDULES)]
        for schedule in schedules[1 :: 2 * len(CADENCES)]:
            _ok(client.post(f"{_place(schedule)}/skip", json={"scheduled_time": EXAMPLE}))
        fires = [_ok(client.post(f"{_place(each)}/trigger")) for each in schedules]
        backfills = [_backfill(client, each) for each in schedules[:2]]
    fire_ids = [each["triggered_fire_id"] for each in fires]
    _by_hand(database_url, agents[0]["id"], fire_ids[: len(fire_ids) // 2])
    return {
        "agent_id": [agents[0]["id"]],
        "agent_name": [each["name"] for each in agents],
        "schedule_id": [each["id"] for each in schedules],
        "name": [each["name"] for each in schedules],
        "fire_id": fire_ids,
        "backfill_id": backfills,
        "task_id": [f"task-{number}" for number in range(1, TASKS + 1)],
        "task_name": [f"task {number}" for number in range(1, TASKS + 1)],
        "event_id": [f"event-{number}" for number in range(1, TASKS + 1)],
        "message_id": [f"message-{number}" for number in range(1, TASKS + 1)],
        "etag": ["*", '"1"', '"2"', 'W/"1", "2", "3"'],
    }


def _agent(client: httpx.Client, acp_type: str) -> dict[str, Any]:
    body = {"name": f"fuzzed-{acp_type}", "acp_url": NOBODY_LISTENS, "acp_type": acp_type}
    return _ok(client.post("/agents/register", json=body))


def _schedule(client: httpx.Client, agent: dict[str, Any], number: int) -> dict[str, Any]:
    body = {"name": f"seed-{number}", "initial_input": {"content": "hi"}}
    body |= CADENCES[number % len(CADENCES)]
    return _ok(client.post(f"/agents/{agent['id']}/schedules", json=body))


def _backfill(client: httpx.Client, schedule: dict[str, Any]) -> str:
    span = {"from": "2026-01-05T00:00:00Z", "to": "2026-01-05T12:00:00Z"}
    found: str = _ok(client.post(f"{_place(schedule)}/backfill", json=span))["id"]
    return found


def _by_hand(database_url: str, agent_id: str, ended: list[str]) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(ENDED, (ended,))
        connection.execute(MADE, (agent_id, TASKS))
        connection.execute(SENT, (agent_id, TASKS))
        connection.execute(SAID, (TASKS,))


def _place(schedule: dict[str, Any]) -> str:
    return f"/agents/{schedule['agent_id']}/schedules/{schedule['id']}"


def _ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found
