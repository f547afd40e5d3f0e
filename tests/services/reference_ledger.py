"""The reference: what the ledger must say of one schedule. Whole seconds; no database, no slices.

`now` never falls on a whole second, so that no two things happen in one instant.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

GRACE = 60
HORIZON = 30
MISSED = {"latest": "coalesced", "all": "catchup_window", "none": "catchup_none"}


@dataclass
class ReferenceLedger:
    """`fires`: how each nominal time stands; `gaps`: [from, to) and why."""

    interval: int
    policy: str
    window: int
    content: str = "hi"
    paused: bool = False
    deleted: bool = False
    clock: int | None = None
    skips: set[int] = field(default_factory=set)
    fires: dict[int, str] = field(default_factory=dict)
    owed: dict[int, float] = field(default_factory=dict)
    gaps: list[tuple[float, float, str]] = field(default_factory=list)

    def first(self, after: float) -> int:
        return int(after // self.interval + 1) * self.interval

    def plan(self, now: float) -> None:
        frontier = (now + HORIZON) // 60 * 60 + 60
        if self.clock is None or self.clock >= frontier:
            return
        start = self.clock
        if start < now - GRACE:
            start = max(start, self.still_delivered(now))
            self.gap(min(start, now), MISSED[self.policy])
        for at in range(start, int(frontier), self.interval):
            ended = self.fires.get(at) in (None, "cancelled/schedule_changed")
            if ended or (self.fires[at] == "skipped/skipped_by_user" and at not in self.skips):
                self.fires[at] = "skipped/skipped_by_user" if at in self.skips else "planned"
                self.owed[at] = now if at < now - GRACE else at
        self.clock = self.first(frontier - 0.5)

    def still_delivered(self, now: float) -> int:
        timely = self.first(now - GRACE)
        if self.policy == "all":
            return self.first(now - max(self.window, GRACE))
        newest = timely - self.interval
        made_up = self.policy == "latest" and timely > now and newest >= now - self.window
        return newest if made_up else timely

    def gap(self, until: float, reason: str) -> None:
        if self.clock is not None and self.clock < until:
            self.gaps.append((self.clock, until, reason))

    def edit_when(self, now: float, change: Callable[[], None]) -> None:
        before = (self.interval, self.paused)
        change()
        if before == (self.interval, self.paused):
            return
        self.gap(now, "paused" if self.paused else "schedule_changed")
        self.clock = None
        if not self.paused:
            for at, state in self.fires.items():
                if state == "planned" and at > now and at % self.interval:
                    self.fires[at] = "cancelled/schedule_changed"
            self.clock = self.first(now)
            self.plan(now)

    def skip(self, at: int) -> None:
        self.skips.add(at)
        if self.fires.get(at) == "planned":
            self.fires[at] = "skipped/skipped_by_user"

    def unskip(self, at: int, now: float) -> None:
        self.skips.remove(at)
        if not self.paused and (self.clock is None or self.clock > at):
            self.clock = self.first(now)
            self.plan(now)

    def delete(self, now: float) -> None:
        self.gap(now, "deleted")
        self.clock, self.deleted = None, True

    def verdict(self, at: int, now: float) -> str:
        """What a claim at `now` makes of a fire that is due: an end, or `deliver`."""
        state = self.fires[at]
        if state == "planned" and (self.deleted or self.paused):
            return "skipped/deleted" if self.deleted else "skipped/paused"
        overtaken = self.policy == "latest" and self.first(at) < now
        gone = self.policy == "none" or at < now - self.window or overtaken
        if self.owed[at] < now - GRACE and gone:
            unknown = state == "task_created"
            return "failed/delivery_unknown" if unknown else f"missed/{MISSED[self.policy]}"
        return "deliver"

    def due(self, now: float) -> list[int]:
        return [at for at, state in self.fires.items() if "/" not in state and at < now
                and state != "delivered"]  # fmt: skip
