"""What a slice's worker may claim, and when: earliest due first, agents in turn."""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime

from schedules_pipeline.services.slots import IN_ALL, PER_AGENT, Slots
from schedules_pipeline.services.store_port import OpenFire

LARGEST_CLAIM = 100

Entry = tuple[datetime, str, OpenFire]


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

    def refill(self, fires: Iterable[OpenFire]) -> None:
        """Replace what was known."""
        self._heaps = {}
        for fire in fires:
            self._add(fire, fire.due_at)
        self._turns = deque(self._heaps)

    def put_back(self, fires: Iterable[OpenFire], not_before: datetime) -> None:
        """They could not be claimed; try again from `not_before` on."""
        for fire in fires:
            if fire.agent_id not in self._heaps:
                self._turns.append(fire.agent_id)
            self._add(fire, max(not_before, fire.due_at))

    def take(self, now: datetime, slots: Slots) -> list[OpenFire]:
        """Remove and return at most 100 fires that are due and whose agents have a slot."""
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
        return min(
            (heap[0][0] for agent, heap in self._heaps.items() if heap and slots.free(agent) > 0),
            default=None,
        )

    def __len__(self) -> int:
        return sum(len(heap) for heap in self._heaps.values())

    def _add(self, fire: OpenFire, claimable_at: datetime) -> None:
        heapq.heappush(self._heaps.setdefault(fire.agent_id, []), (claimable_at, fire.id, fire))
