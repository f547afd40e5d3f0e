"""What a fire's end looks like in Dagster."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from schedules_pipeline.defs.audit_events import audit_event
from schedules_pipeline.domain.fire import FireReason, FireState, TriggerType
from schedules_pipeline.services.stored import AuditRecord, Fire
from tests.factories import NOW

KEY = "2026-06-24T09:00:00Z"


def record(state: FireState = FireState.DELIVERED, **changes: Any) -> AuditRecord:
    values: dict[str, Any] = {
        "id": "agent-run-schedule:12345678-aaaa-run-2026-06-24T09:00:00Z",
        "schedule_id": "12345678-aaaa",
        "agent_id": "agent-1",
        "nominal_at": NOW,
        "due_at": NOW,
        "trigger_type": TriggerType.SCHEDULED,
        "state": state,
        "reason": None,
        "task_id": "task-1",
        "idempotency_key": "key",
        "attempts": 1,
        "dagster_run_id": "run-1",
        "sent_at": NOW + timedelta(milliseconds=25),
        "delivered_at": NOW,
        "finished_at": NOW,
        "possible_duplicate": False,
        "error": None,
        "reply_excerpt": None,
    }
    return AuditRecord(
        fire=Fire(**(values | changes)), schedule_name="daily", agent_name="reporter"
    )


def metadata(found: AuditRecord) -> dict[str, Any]:
    event = audit_event(found, KEY, asset_per_schedule=True)
    return {name: value.value for name, value in event.metadata.items()}


def test_a_delivery_is_a_materialization_of_its_schedules_asset_in_its_slice() -> None:
    event = audit_event(record(), KEY, asset_per_schedule=True)
    assert isinstance(event, dg.AssetMaterialization)
    assert event.asset_key == dg.AssetKey(["agent_runs", "reporter", "daily-12345678"])
    assert event.partition == KEY
    assert event.description == "delivered"


def test_one_asset_per_agent_holds_the_events_of_its_schedules() -> None:
    event = audit_event(record(), KEY, asset_per_schedule=False)
    assert event.asset_key == dg.AssetKey(["agent_runs", "reporter"])
    assert event.metadata["schedule"] == dg.MetadataValue.text("daily")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (FireState.FAILED, FireReason.TIMEOUT),
        (FireState.SKIPPED, FireReason.OVERLAP),
        (FireState.MISSED, FireReason.COALESCED),
        (FireState.CANCELLED, FireReason.RUN_CANCELLED),
    ],
)
def test_every_other_end_is_an_observation_that_says_why(
    state: FireState, reason: FireReason
) -> None:
    event = audit_event(record(state, reason=reason), KEY, asset_per_schedule=True)
    assert isinstance(event, dg.AssetObservation)
    assert event.description == f"{state.value}: {reason.value}"
    assert event.partition == KEY


def test_what_a_person_wants_to_see_is_in_the_metadata() -> None:
    assert metadata(record(reply_excerpt="hello <b>", attempts=3)) == {
        "nominal_at": NOW.timestamp(),
        "due_at": NOW.timestamp(),
        "state": "delivered",
        "attempts": 3,
        "fire_id": "agent-run-schedule:12345678-aaaa-run-2026-06-24T09:00:00Z",
        "schedule": "daily",
        "schedule_id": "12345678-aaaa",
        "idempotency_key": "key",
        "possible_duplicate": False,
        "lateness_seconds": 0.025,
        "task_id": "task-1",
        "reply_excerpt": "hello <b>",
    }


def test_what_was_never_sent_has_no_lateness() -> None:
    found = metadata(record(FireState.SKIPPED, reason=FireReason.PAUSED, sent_at=None,
                            task_id=None))  # fmt: skip
    assert "lateness_seconds" not in found
    assert "task_id" not in found


def test_an_agents_words_are_plain_text() -> None:
    failed = record(FireState.FAILED, reason=FireReason.BAD_REPLY, error="<script>")
    event = audit_event(failed, KEY, asset_per_schedule=True)
    assert event.metadata["error"] == dg.MetadataValue.text("<script>")
