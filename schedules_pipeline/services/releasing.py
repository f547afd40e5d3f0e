"""Releasing fires that wait in the ledger: one of each schedule, once nothing is ahead of it.

Done by the transaction that ends the fire ahead, and by the tick for all other cases: a task that
became final, a policy that was changed, a fire ahead that ended otherwise.
"""

from collections.abc import Callable, Collection, Sequence

from schedules_pipeline.domain.policies import OverlapScope
from schedules_pipeline.services.standby import slice_now
from schedules_pipeline.services.store_port import Store, Transaction
from schedules_pipeline.services.stored import Release

WAITING_PER_TICK = 100

OpenTasks = Callable[[Collection[str]], Collection[str]]
"""Those of some tasks that are not final, by the platform's word. Takes a second at most."""


def release_waiting(store: Store, open_tasks: OpenTasks) -> None:
    """The tick's part. The platform is asked outside any transaction."""
    waiting = store.run(lambda tx: tx.overlaps.waiting_schedules(WAITING_PER_TICK))
    tasks = {w.task_id for w in waiting if w.scope is OverlapScope.TASK and w.task_id}
    still_open = set(open_tasks(tasks)) if tasks else set()
    free = {
        w.schedule_id
        for w in waiting
        if w.scope is OverlapScope.DELIVERY or w.task_id not in still_open
    }
    if free:
        store.run(lambda tx: _release_free(tx, free))


def _release_free(tx: Transaction, schedule_ids: set[str]) -> None:
    release(tx, prepare(tx, tx.clocks.lock_free(schedule_ids)))


def prepare(tx: Transaction, schedule_ids: Collection[str]) -> Sequence[Release]:
    """Choose who would go next and open the slices for them: slices come before fires."""
    found = tx.overlaps.first_waiting(schedule_ids) if schedule_ids else ()
    if not found:
        return ()
    now = tx.now()
    # Asked once for each type of agent, not for each fire.
    present = {acp_type: slice_now(tx, acp_type, now) for acp_type in {f.acp_type for f in found}}
    releases = [Release(fire_id=each.fire_id, slice=present[each.acp_type]) for each in found]
    # Most of them stay where they are: told is what was released.
    tx.slices.open({each.slice for each in releases}, now, quietly=True)
    return releases


def release(tx: Transaction, releases: Sequence[Release]) -> None:
    """Let those go that nothing is ahead of any more."""
    if releases and (joined := tx.overlaps.release(releases, tx.now())):
        tx.slices.tell(joined)
