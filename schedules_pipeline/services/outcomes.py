"""What came of claimed fires: their rows, and the failures in a row that pause a schedule."""

from collections.abc import Sequence
from dataclasses import replace

from schedules_pipeline.domain.fire import FireState, GapReason
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.domain.zones import TZDATA_VERSION
from schedules_pipeline.services.planning import cover
from schedules_pipeline.services.releasing import prepare, release
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import Outcome

SYSTEM: JsonObject = {"principal_type": "system"}


def write_outcomes(tx: Transaction, outcomes: Sequence[Outcome], dagster_run_id: str) -> set[str]:
    """Write one step of each; returns the ids of the fires that were still this run's.

    Where a schedule counts its failures, or fires of it may wait for this one's end, its clock's
    row is locked first: the count, the pause, the release and the fire's end are one.
    """
    ends = [o for o in outcomes if o.pause_after_failures and _is_result(o)]
    # Any step may turn out to be the end of a fire that was told to stop.
    going = {o.schedule_id for o in outcomes if o.lets_next_go}
    locked = going | {o.schedule_id for o in ends}
    if locked:
        tx.clocks.lock_all(locked)
    releases = prepare(tx, going)
    if ends:
        # Written again because the answer to the first commit was lost: counted already.
        counted = tx.claims.ended({o.fire_id for o in ends})
        ends = [o for o in ends if o.fire_id not in counted]
    kept = tx.claims.write_outcomes(outcomes, dagster_run_id)
    if denied := {o.fire_id for o in outcomes if o.state is FireState.SKIPPED} & kept:
        tx.tasks.withdraw(denied)
    ours = [o for o in ends if o.fire_id in kept]
    if ours:
        _count(tx, ours)
    release(tx, releases)
    return kept


def _is_result(outcome: Outcome) -> bool:
    return outcome.state in (FireState.DELIVERED, FireState.FAILED)


def _count(tx: Transaction, ends: Sequence[Outcome]) -> None:
    counts = dict(tx.clocks.failures({o.schedule_id for o in ends}))
    for outcome in ends:
        failed = outcome.state is FireState.FAILED
        counts[outcome.schedule_id] = counts[outcome.schedule_id] + 1 if failed else 0
    tx.clocks.set_failures(counts)
    for schedule_id, failures in counts.items():
        if failures:
            _pause_if_enough(tx, schedule_id, failures)


def _pause_if_enough(tx: Transaction, schedule_id: str, failures: int) -> None:
    """By the limit that is in force now, not by that of the claim."""
    before = tx.schedules.find(schedule_id)
    if before is None or before.paused:
        return
    limit = before.policies.pause_after_failures
    if limit is None or failures < limit:
        return
    after = tx.schedules.update(replace(before, paused=True))
    assert after is not None, "its name has not changed"
    now = tx.now()
    cover(tx, schedule_id, now, GapReason.PAUSED)
    tx.clocks.set_next(schedule_id, None)
    tx.schedules.record_change(
        before,
        after,
        operation="pause",
        actor=SYSTEM,
        at=now,
        tzdata_version=TZDATA_VERSION,
        reason="failures",
        note=f"{failures} fires in a row failed; mend the cause, then resume.",
    )
