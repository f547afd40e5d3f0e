"""What a fire's end looks like in Dagster: one asset event, made for people, never read back."""

import dagster as dg

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.services.store_port import AuditRecord, Fire

ASSET_PREFIX = "agent_runs"


def audit_event(
    record: AuditRecord, slice_key: str
) -> dg.AssetMaterialization | dg.AssetObservation:
    """A materialization for a delivery; an observation for every other end."""
    kind = (
        dg.AssetMaterialization if record.fire.state is FireState.DELIVERED else dg.AssetObservation
    )
    return kind(
        asset_key=asset_key(record),
        partition=slice_key,
        description=_description(record.fire),
        metadata=_metadata(record),
    )


def asset_key(record: AuditRecord) -> dg.AssetKey:
    """`agent_runs/<agent>/<schedule>-<first 8 of its id>`: names are used again, ids are not."""
    schedule = f"{record.schedule_name}-{record.fire.schedule_id[:8]}"
    return dg.AssetKey([ASSET_PREFIX, record.agent_name, schedule])


def _description(fire: Fire) -> str:
    if fire.reason is None:
        return fire.state.value
    return f"{fire.state.value}: {fire.reason.value}"


def _metadata(record: AuditRecord) -> dict[str, dg.MetadataValue]:
    fire = record.fire
    lateness = fire.lateness
    found = {
        "nominal_at": dg.MetadataValue.timestamp(fire.nominal_at),
        "due_at": dg.MetadataValue.timestamp(fire.due_at),
        "state": dg.MetadataValue.text(_description(fire)),
        "attempts": dg.MetadataValue.int(fire.attempts),
        "fire_id": dg.MetadataValue.text(fire.id),
        "schedule_id": dg.MetadataValue.text(fire.schedule_id),
        "task_id": fire.task_id and dg.MetadataValue.text(fire.task_id),
        "idempotency_key": dg.MetadataValue.text(fire.idempotency_key),
        "lateness_seconds": lateness and dg.MetadataValue.float(lateness.total_seconds()),
        "possible_duplicate": dg.MetadataValue.bool(fire.possible_duplicate),
        # An agent's words: shown as plain text, which the page escapes.
        "error": fire.error and dg.MetadataValue.text(fire.error),
        "reply_excerpt": fire.reply_excerpt and dg.MetadataValue.text(fire.reply_excerpt),
    }
    return {name: value for name, value in found.items() if value is not None and value != ""}
