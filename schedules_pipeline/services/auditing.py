"""The audit trail: every fire's end becomes one event that people see in Dagster.

An event and its `recorded_at` cannot be one transaction (Dagster's log is Dagster's): a run that
dies between the two makes its events again, up to a batch of them. The ledger is the truth, the
event log is for people.
"""

from collections.abc import Iterator, Sequence

from schedules_pipeline.domain.fire import FireState
from schedules_pipeline.errors import FiresFailed
from schedules_pipeline.services.dispatch import Dispatch
from schedules_pipeline.services.stored import AuditRecord

RECORDS_PER_BATCH = 100
NAMED_FAILURES = 20


class AuditTrail:
    """What a dispatch still has to say of the fires of its slice."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._failed: list[AuditRecord] = []

    def batches(self) -> Iterator[Sequence[AuditRecord]]:
        """The ends that have no event yet. A batch counts as told when the next is asked for."""
        key = self._dispatch.slice_key
        while batch := self._dispatch.write(
            lambda tx: tx.claims.unrecorded(key, RECORDS_PER_BATCH)
        ):
            yield batch
            self._mark(batch)

    def _mark(self, batch: Sequence[AuditRecord]) -> None:
        made = [record.fire.id for record in batch]
        self._dispatch.write(lambda tx: tx.claims.mark_recorded(made))
        self._failed += [r for r in batch if r.fire.state is FireState.FAILED]

    def settle(self) -> None:
        """Close the slice if its minute is over and nothing in it is open."""
        self._dispatch.write(lambda tx: tx.slices.settle([self._dispatch.slice_key]))

    def raise_for_failures(self) -> None:
        """Errors: FiresFailed, naming what failed, so that the Dagster run is red."""
        if self._failed:
            raise FiresFailed(_summary(self._failed))


def _summary(failed: list[AuditRecord]) -> str:
    lines = [
        f"{r.agent_name}/{r.schedule_name} at {r.fire.nominal_at:%Y-%m-%dT%H:%M:%SZ}: "
        f"{r.fire.reason} after {r.fire.attempts} attempts: {r.fire.error} ({r.fire.id})"
        for r in failed[:NAMED_FAILURES]
    ]
    more = len(failed) - len(lines)
    if more:
        lines.append(f"… and {more} more; the ledger has them all (GET …/fires).")
    count = "1 fire" if len(failed) == 1 else f"{len(failed)} fires"
    return f"{count} of this slice failed:\n" + "\n".join(lines)
