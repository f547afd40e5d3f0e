"""Reads the evidence: the agents' logs, the ledger's rows, and the audit that the API gives."""

from collections.abc import Sequence
from datetime import datetime

from soak.occurrences import Expected
from soak.stage import Stage
from soak.verdict import Evidence, GapRow, Received, Row
from tests.agents import RunningAgent
from tests.stack import Stack

INPUTS = ("event/send", "message/send")
DEADLOCK = b"deadlock detected"


def gather(stage: Stage, until: datetime, late_limit_seconds: float | None) -> Evidence:
    """Everything up to an instant."""
    stack, expected = stage.stack, stage.expected
    of = {each.schedule_id for each in expected}
    agents = stage.agents.running
    return Evidence(
        expected=expected,
        until=until,
        received=[r for agent, dedupes in agents for r in _received(agent, dedupes, of)],
        rows=_rows(stack, until),
        gaps=[GapRow(*row) for row in stack.sql("select schedule_id, from_at, to_at from gaps")],
        deadlocks=sum(log.read_bytes().count(DEADLOCK) for log in stage.database_logs()),
        holes_by_the_audit=_audit(stack, expected, until),
        late_limit_seconds=late_limit_seconds,
    )


def _received(agent: RunningAgent, dedupes: bool, of: set[str]) -> list[Received]:
    found = []
    for line in agent.received():
        said = line["task_metadata"] or {}
        if said.get("schedule_id") in of:
            found.append(
                Received(
                    at=line["at"],
                    is_input=line["method"] in INPUTS,
                    schedule_id=said["schedule_id"],
                    nominal_at=datetime.fromisoformat(said["fire_time"]),
                    fire_id=said["scheduled_fire_id"],
                    task_id=line["task_id"],
                    handled=line["handled"],
                    dedupes=dedupes,
                )
            )
    return found


def _rows(stack: Stack, until: datetime) -> list[Row]:
    rows = stack.sql(
        "select id, schedule_id, nominal_at, due_at, state, reason, possible_duplicate "
        f"from fires where trigger_type = 'scheduled' and nominal_at <= '{until.isoformat()}'"
    )
    return [Row(*row) for row in rows]


def _audit(stack: Stack, expected: Sequence[Expected], until: datetime) -> int | None:
    """How many unexplained holes the product itself finds; None while it has no such endpoint."""
    holes = 0
    for each in expected:
        stretch = {"from": each.began.isoformat(), "to": until.isoformat()}
        path = f"/agents/{each.agent_id}/schedules/{each.schedule_id}/audit"
        answer = stack.api.get(path, params=stretch)
        if answer.status_code == 404 and answer.json() == {"detail": "Not Found"}:
            return None
        answer.raise_for_status()
        holes += len(answer.json()["holes"])
    return holes
