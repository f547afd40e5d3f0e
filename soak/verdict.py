"""The verdict: what the agents received, and what the ledger says, against what had to happen.

Pure. Nothing here trusts the ledger about a delivery: only an agent's own log counts as one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from soak.occurrences import Expected

Occurrence = tuple[str, datetime]
"""A schedule's id and the nominal time."""

FINAL = frozenset({"delivered", "skipped", "missed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Received:
    """A request that an agent wrote into its log.

    `handled`: false when the agent had taken that idempotency key before, and does not take one
    twice. `dedupes`: whether it is such an agent.
    """

    at: float
    is_input: bool
    schedule_id: str
    nominal_at: datetime
    fire_id: str
    task_id: str
    handled: bool
    dedupes: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A fire's row in the ledger."""

    fire_id: str
    schedule_id: str
    nominal_at: datetime
    due_at: datetime
    state: str
    reason: str | None
    possible_duplicate: bool


@dataclass(frozen=True, slots=True)
class GapRow:
    """[from_at, to_at) of a schedule was never planned."""

    schedule_id: str
    from_at: datetime
    to_at: datetime


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is to judge by.

    With `late_limit_seconds` an input that comes later is an offence (`stale`), and an occurrence
    that ended `missed` is none. `deadlocks`: how many PostgreSQL's log tells of.
    `holes_by_the_audit`: None when the product was not asked.
    """

    expected: Sequence[Expected]
    until: datetime
    received: Sequence[Received]
    rows: Sequence[Row]
    gaps: Sequence[GapRow]
    deadlocks: int = 0
    holes_by_the_audit: int | None = None
    late_limit_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offences:
    """Each must be 0."""

    lost: int
    missed: int
    unfinished: int
    holes: int
    covered_twice: int
    duplicate_tasks: int
    duplicate_inputs_handled: int
    duplicates_unmarked: int
    early: int
    stale: int
    uncalled_for: int
    deadlocks: int

    def all(self) -> dict[str, int]:
        """Each by its name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The offences, and what is only told: how the occurrences ended, how often inputs repeated."""

    occurrences: int
    delivered: int
    duplicates_marked: int
    ends: Counter[str]
    offences: Offences
    holes_by_the_audit: int | None

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not any(self.offences.all().values()) and not self.holes_by_the_audit


def judge(evidence: Evidence) -> Verdict:
    """Weigh the evidence."""
    wanted: set[Occurrence] = {
        (each.schedule_id, at)
        for each in evidence.expected
        for at in each.occurrences(evidence.until)
    }
    received = [r for r in evidence.received if r.nominal_at <= evidence.until]
    inputs = [r for r in received if r.is_input]
    at_agents = {(r.schedule_id, r.nominal_at) for r in inputs}
    rows = {(r.schedule_id, r.nominal_at): r for r in evidence.rows}
    in_gaps = _in_gaps(wanted, evidence.gaps)
    marked = {row.fire_id for row in evidence.rows if row.possible_duplicate}
    repeated = _repeated(inputs)
    limit = evidence.late_limit_seconds
    due = {(r.schedule_id, r.nominal_at): r.due_at.timestamp() for r in evidence.rows}
    late = [i.at - due.get((i.schedule_id, i.nominal_at), i.at) for i in inputs]
    missed = len(in_gaps) + sum(rows[o].state == "missed" for o in wanted & rows.keys())
    offences = Offences(
        lost=sum(
            occurrence not in at_agents
            and not _has_reason(rows.get(occurrence), occurrence, in_gaps)
            for occurrence in wanted
        ),
        missed=missed if limit is None else 0,
        unfinished=sum(rows[o].state not in FINAL for o in wanted & rows.keys()),
        holes=len(wanted - rows.keys() - in_gaps),
        covered_twice=len(in_gaps & rows.keys()) + len(evidence.rows) - len(rows),
        duplicate_tasks=_duplicate_tasks(received),
        duplicate_inputs_handled=_handled_twice(inputs),
        duplicates_unmarked=len(repeated - marked),
        early=sum(seconds < 0 for seconds in late),
        stale=0 if limit is None else sum(seconds > limit for seconds in late),
        uncalled_for=len(at_agents - wanted),
        deadlocks=evidence.deadlocks,
    )
    return Verdict(
        occurrences=len(wanted),
        delivered=len(at_agents & wanted),
        duplicates_marked=len(repeated & marked),
        ends=Counter(_end(rows.get(o), o, in_gaps) for o in wanted),
        offences=offences,
        holes_by_the_audit=evidence.holes_by_the_audit,
    )


def _in_gaps(wanted: Iterable[Occurrence], gaps: Sequence[GapRow]) -> set[Occurrence]:
    by_schedule = defaultdict(list)
    for gap in gaps:
        by_schedule[gap.schedule_id].append(gap)
    return {
        (schedule_id, at)
        for schedule_id, at in wanted
        if any(gap.from_at <= at < gap.to_at for gap in by_schedule[schedule_id])
    }


def _has_reason(row: Row | None, occurrence: Occurrence, in_gaps: set[Occurrence]) -> bool:
    return occurrence in in_gaps or (row is not None and row.reason is not None)


def _end(row: Row | None, occurrence: Occurrence, in_gaps: set[Occurrence]) -> str:
    if row is None:
        return "gap" if occurrence in in_gaps else "hole"
    return row.state if row.reason is None else f"{row.state}/{row.reason}"


def _repeated(inputs: Iterable[Received]) -> set[str]:
    """Fires whose input came more than once to an agent."""
    times = Counter(each.fire_id for each in inputs)
    return {fire_id for fire_id, count in times.items() if count > 1}


def _handled_twice(inputs: Iterable[Received]) -> int:
    """By occurrence, not by key: a repetition under another key gets past an agent's dedupe."""
    times = Counter((i.schedule_id, i.nominal_at) for i in inputs if i.dedupes and i.handled)
    return sum(count > 1 for count in times.values())


def _duplicate_tasks(received: Iterable[Received]) -> int:
    tasks = defaultdict(set)
    for each in received:
        tasks[each.schedule_id, each.nominal_at].add(each.task_id)
    return sum(len(found) > 1 for found in tasks.values())
