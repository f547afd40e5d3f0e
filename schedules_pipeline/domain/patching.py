"""What a PATCH makes of a schedule. Pure; whether the result makes sense is asked afterwards."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.policies import Policies
from schedules_pipeline.domain.schedule import Schedule
from schedules_pipeline.errors import InvalidInput, Rejected

KINDS = ("cron_expression", "interval_seconds", "fire_at")
KEPT_ON_NULL = frozenset({"name", "timezone", "paused", "initial_input"})
"""An explicit null of these changes nothing, as in the contract; any other null resets."""

OWN = frozenset({"name", "description", "paused", "task_params", "task_metadata", "initial_input"})


def patched(schedule: Schedule, given: Mapping[str, Any]) -> Schedule:
    """`schedule` with the fields that were given; JSON values are replaced whole.

    Setting one kind of cadence clears the others. Errors: InvalidInput when two kinds are set,
    Rejected when none would be left.
    """
    values = {k: v for k, v in given.items() if not (v is None and k in KEPT_ON_NULL)}
    return replace(
        schedule,
        cadence=_patched_cadence(schedule.cadence, values),
        policies=replace(schedule.policies, **_part(Policies, values)),
        **{name: value for name, value in values.items() if name in OWN},
    )


def _patched_cadence(cadence: Cadence, values: Mapping[str, Any]) -> Cadence:
    wanted = [kind for kind in KINDS if values.get(kind) is not None]
    if len(wanted) > 1:
        raise InvalidInput(wanted[1], f"cannot be set together with {wanted[0]}; give one of them")
    changes = _part(Cadence, values)
    if wanted:
        # The phase belongs to the interval that it was given with.
        changes = dict.fromkeys(KINDS) | {"interval_phase_seconds": 0} | changes
    result = replace(cadence, **changes)
    if all(getattr(result, kind) is None for kind in KINDS):
        raise Rejected("Schedule must have exactly one of cron_expression or interval_seconds")
    return result


def _part(kind: type[Cadence] | type[Policies], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are fields of `kind`; a null means the field's default."""
    found = {}
    for each in fields(kind):
        if each.name in values:
            value = values[each.name]
            found[each.name] = _default(each) if value is None else value
    return found


def _default(each: Any) -> Any:
    return None if each.default is MISSING else each.default
