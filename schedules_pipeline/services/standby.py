"""The standby worker: which fires it takes that no Dagster run of their own is up for.

A run for every hour, up before it begins, works the slice `<hour>/now`. A fire that is due at once
joins that slice when it is made, so that it waits for no run to start. It is a fire of one slice
like any other, and heals like any other when the standby dies with it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from schedules_pipeline.domain.planning import PlannedFire, SchedulePlan
from schedules_pipeline.domain.schedule import AcpType
from schedules_pipeline.domain.slices import Slice, present_slice
from schedules_pipeline.services.store_port import Transaction

MOST_AT_ONCE = 200
"""More is a crowd, for which a run of its own comes up: what comes next must not wait behind it."""
LIVE_SYNC_SLICES = 6
"""So many Dagster runs at most wait for synchronous agents at once."""


def slice_now(tx: Transaction, acp_type: AcpType, now: datetime) -> Slice:
    """The slice that is worked at this moment, for something that is due now."""
    if standby := tx.slices.standing_by(now):
        return standby
    crowd = tx.slices.crowded(LIVE_SYNC_SLICES) if acp_type is AcpType.SYNC else None
    return crowd or present_slice(now, answers_in_turn=acp_type is AcpType.SYNC)


def hand_to_standby(
    tx: Transaction, plans: Sequence[SchedulePlan], now: datetime, soon: timedelta
) -> tuple[Sequence[SchedulePlan], Slice | None]:
    """Give the standby what is due before `now + soon` and in a slice that no run works yet.

    Late joiners, and what is made up after an outage. Returns the plans, and the standby's slice if
    it got any. In ordinary planning nothing is due so soon, and nothing is asked.
    """

    def is_soon(fire: PlannedFire) -> bool:
        return fire.due_at < now + soon and not fire.skipped

    near = Counter(fire.slice.key for plan in plans for fire in plan.fires if is_soon(fire))
    standby = tx.slices.standing_by(now) if near else None
    if standby is None:
        return plans, None
    idle = set(near) - tx.slices.worked(near)
    if not 0 < sum(near[key] for key in idle) <= MOST_AT_ONCE:
        return plans, None

    def handed(fire: PlannedFire) -> PlannedFire:
        is_taken = is_soon(fire) and fire.slice.key in idle
        return replace(fire, slice=standby) if is_taken else fire

    return [replace(plan, fires=tuple(map(handed, plan.fires))) for plan in plans], standby
