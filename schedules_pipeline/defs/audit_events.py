"""What a fire's end looks like in Dagster: one asset event, made for people, never read back."""

import dagster as dg

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.services.stored import AuditRecord, Fire

ASSET_PREFIX = "agent_runs"


def audit_event(
    record: AuditRecord, slice_key: str, *, asset_per_schedule: bool
) -> dg.AssetMaterialization | dg.AssetObservation:
    """A materialization for a delivery; an observation for every other end."""
    kind = (
        dg.AssetMaterialization if record.fire.state is FireState.DELIVERED else dg.AssetObservation
    )
    return kind(
        asset_key=asset_key(record, per_schedule=asset_per_schedule),
        partition=slice_key,
        description=_description(record.fire),
        metadata=_metadata(record),
    )


def asset_key(record: AuditRecord, *, per_schedule: bool) -> dg.AssetKey:
    """`agent_runs/<agent>/<schedule>-<first 8 of its id>`: names are used again, ids are not.

    Or `agent_runs/<agent>`, for a house with more schedules than one wants to see as assets.
    """
    if not per_schedule:
        return dg.AssetKey([ASSET_PREFIX, record.agent_name])
    schedule = f"{record.schedule_name}-{record.fire.schedule_id[:8]}"
    return dg.AssetKey([ASSET_PREFIX, record.agent_name, schedule])


def _description(fire: Fire) -> str:
    if fire.reason is None:
        return fire.state.value
    return f"{fire.state.value}: {fire.reason.value}"


def _metadata(record: AuditRecord) -> dict[str, dg.MetadataValue]:
    fire = record.fire
    found: dict[str, dg.MetadataValue] = {
        "nominal_at": dg.MetadataValue.timestamp(fire.nominal_at),
        "due_at": dg.MetadataValue.timestamp(fire.due_at),
        "state": dg.MetadataValue.text(_description(fire)),
        "attempts": dg.MetadataValue.int(fire.attempts),
        "schedule": dg.MetadataValue.text(record.schedule_name),
        "fire_id": dg.MetadataValue.text(fire.id),
        "schedule_id": dg.MetadataValue.text(fire.schedule_id),
        "idempotency_key": dg.MetadataValue.text(fire.idempotency_key),
        "possible_duplicate": dg.MetadataValue.bool(fire.possible_duplicate),
    }
    if fire.lateness is not None:
        found["lateness_seconds"] = dg.MetadataValue.float(fire.lateness.total_seconds())
    # `error` and `reply_excerpt` are an agent's words: plain text, which the page escapes.
    for name in ("task_id", "error", "reply_excerpt"):
        if value := getattr(fire, name):
            found[name] = dg.MetadataValue.text(value)
    return found
