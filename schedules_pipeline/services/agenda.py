"""What a slice's worker may claim, and when: earliest due first, agents in turn."""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from schedules_pipeline.services.slots import IN_ALL, PER_AGENT, Slots
from schedules_pipeline.services.stored import OpenFire

LARGEST_CLAIM = 100

Entry = tuple[datetime, str, OpenFire]


@dataclass(slots=True)
class Parked:
    """A schedule's fires that wait for one of their own."""

    until: datetime
    fires: list[Entry] = field(default_factory=list)


def due_soon(fires: Iterable[OpenFire], after: datetime, until: datetime) -> Mapping[str, int]:
    """How many are due in (after, until], by agent; never more than there are slots."""
    due = Counter(fire.agent_id for fire in fires if after < fire.due_at <= until)
    room = IN_ALL
    for agent_id, number in due.items():
        due[agent_id] = min(number, PER_AGENT, room)
        room -= due[agent_id]
    return +due


class Agenda:
    """Open fires, by agent. Refilled from the ledger; never the truth itself."""

    def __init__(self) -> None:
        self._heaps: dict[str, list[Entry]] = {}
        self._turns: deque[str] = deque()
        self._parked: dict[str, Parked] = {}

    def refill(self, fires: Iterable[OpenFire]) -> None:
        """Replace what was known; a schedule that waits for one of its own goes on waiting."""
        self._heaps, self._turns = {}, deque()
        self._parked = {s: Parked(parked.until) for s, parked in self._parked.items()}
        for fire in fires:
            self._add(fire, fire.due_at)

    def park(self, fires: Iterable[OpenFire], until: datetime) -> None:
        """An earlier fire of their schedule goes first: ask again at `until`, or when it ended.

        All of the schedule's others are parked with them: one at a time can go, and asking the
        database for each of thousands would be all that this run does.
        """
        for fire in fires:
            if fire.schedule_id not in self._parked:
                self._parked[fire.schedule_id] = Parked(until, self._take_out(fire))
            self._parked[fire.schedule_id].until = until
            self._add(fire, fire.due_at)

    def _take_out(self, like: OpenFire) -> list[Entry]:
        """Remove and return all that is known of that fire's schedule, as a heap."""
        heap = self._heaps.get(like.agent_id, [])
        own = [entry for entry in heap if entry[2].schedule_id == like.schedule_id]
        if own:
            heap[:] = [entry for entry in heap if entry[2].schedule_id != like.schedule_id]
            heapq.heapify(heap)
            heapq.heapify(own)
        return own

    def let_next_go(self, schedule_id: str, now: datetime) -> None:
        """A fire of the schedule has ended: the earliest of those parked behind it may be asked."""
        parked = self._parked.get(schedule_id)
        if parked is None:
            return
        if parked.fires:
            self._push(heapq.heappop(parked.fires)[2], now)
        if not parked.fires:
            del self._parked[schedule_id]

    def put_back(self, fires: Iterable[OpenFire], not_before: datetime) -> None:
        """Their schedules' clocks were held by others; try again from `not_before` on.

        All of such a schedule's fires wait that long: none may overtake the one that was due first.
        """
        for fire in fires:
            again_at = max(not_before, fire.due_at)
            parked = self._parked.get(fire.schedule_id)
            if parked is None:
                parked = self._parked[fire.schedule_id] = Parked(again_at, self._take_out(fire))
            parked.until = min(parked.until, again_at)
            self._add(fire, fire.due_at)

    def take(self, now: datetime, slots: Slots) -> list[OpenFire]:
        """Remove and return at most 100 fires that are due and whose agents have a slot."""
        self._unpark(now)
        room = min(LARGEST_CLAIM, slots.free_in_all())
        left = {agent: slots.free(agent) for agent in self._turns}
        taken: list[OpenFire] = []
        idle = 0
        while len(taken) < room and idle < len(self._turns):
            agent = self._turns[0]
            self._turns.rotate(-1)
            heap = self._heaps[agent]
            if left[agent] > 0 and heap and heap[0][0] <= now:
                taken.append(heapq.heappop(heap)[2])
                left[agent] -= 1
                idle = 0
            else:
                idle += 1
        return taken

    def next_at(self, slots: Slots) -> datetime | None:
        """When the next fire whose agent has a slot may be claimed; None: none is known."""
        claimable = (
            heap[0][0] for agent, heap in self._heaps.items() if heap and slots.free(agent) > 0
        )
        parked = (each.until for each in self._parked.values() if each.fires)
        return min(chain(claimable, parked), default=None)

    def __len__(self) -> int:
        waiting = sum(len(parked.fires) for parked in self._parked.values())
        return waiting + sum(len(heap) for heap in self._heaps.values())

    def _unpark(self, now: datetime) -> None:
        for schedule_id in [s for s, parked in self._parked.items() if parked.until <= now]:
            for claimable_at, _, fire in self._parked.pop(schedule_id).fires:
                self._push(fire, claimable_at)

    def _add(self, fire: OpenFire, claimable_at: datetime) -> None:
        if (parked := self._parked.get(fire.schedule_id)) is not None:
            heapq.heappush(parked.fires, (claimable_at, fire.id, fire))
        else:
            self._push(fire, claimable_at)

    def _push(self, fire: OpenFire, claimable_at: datetime) -> None:
        if fire.agent_id not in self._heaps:
            self._turns.append(fire.agent_id)
        heapq.heappush(self._heaps.setdefault(fire.agent_id, []), (claimable_at, fire.id, fire))
