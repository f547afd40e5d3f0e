"""The invariant, computed: every occurrence that a schedule owed, and what covers it.

What was owed is recomputed from the change history: each definition, in force until the next
change. An occurrence belongs to the definition under which it came due. It is covered by its own
fire, else by the gap that holds it; what the clock has not come to yet is held or upcoming. Nothing
is owed while the schedule is paused, deleted or exhausted. The rest is a hole: there must be none.

Zone rules are those in use now. Where newer rules have moved an occurrence that was past already,
the row at its old instant is shown as it is, and the new instant is a hole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.occurrences import count_occurrences, due_at, occurrences
from schedules_pipeline.domain.planning import INSTANT, Gap
from schedules_pipeline.errors import InvalidInput

MOST = 10_000


class Cover(StrEnum):
    """What is said of an occurrence that has no row of its own."""

    MISSED = "missed"
    """A gap holds it; the reason is the gap's."""
    HELD = "held"
    """It is past due, and the clock stands before it: it is behind, stopped or switched off."""
    UPCOMING = "upcoming"
    """It is still ahead."""


CLOCK_BEHIND = "clock_behind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Nominal times from `since` to `until`, both included."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.until < self.since:
            raise InvalidInput("to", "is before from; give a later instant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of the change history: what was in force from then on.

    `exhausted_since`: up to this change the schedule had been exhausted, since then.
    """

    at: datetime
    cadence: Cadence
    paused: bool
    deleted: bool
    exhausted_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStanding:
    """Where the clock stands now; `exhausted_since` when it may fire no more."""

    next_nominal_at: datetime | None
    exhausted_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFire:
    """An occurrence's fire."""

    id: str
    nominal_at: datetime
    state: FireState
    reason: FireReason | None

    @property
    def stands(self) -> bool:
        """Whether it says what became of its occurrence: a change took it out else."""
        return self.reason is not FireReason.SCHEDULE_CHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the ledger and the history say of a span, as of `now`."""

    schedule_id: str
    now: datetime
    changes: Sequence[Change]
    clock: ClockStanding
    fires: Sequence[LedgerFire]
    gaps: Sequence[Gap]
    skips: frozenset[datetime]
    held_because: str
    """Why the clock stands, where it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """An occurrence and what became of it."""

    nominal_at: datetime
    fire_id: str | None
    state: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """[since, until)."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What `cover_span` found; stretches are cut to the span."""

    occurrences: Sequence[Covered]
    holes: Sequence[datetime]
    paused: Sequence[Stretch]
    exhausted: Sequence[Stretch]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Era:
    """[since, until): this definition was in force; None: it still is."""

    since: datetime
    until: datetime | None
    change: Change
    exhausted_since: datetime | None

    @property
    def owes_until(self) -> datetime | None:
        """None: without end."""
        if self.change.paused or self.change.deleted:
            return self.since
        if self.exhausted_since is not None:
            return max(self.since, self.exhausted_since)
        return self.until


def cover_span(evidence: Evidence, span: Span) -> Coverage:
    """Account for every occurrence of the span.

    Errors: InvalidInput when the span holds more than 10,000; InvalidCadence.
    """
    eras = list(_eras(evidence))
    owed = _owed(evidence.schedule_id, eras, span)
    fires = {fire.nominal_at: fire for fire in evidence.fires}
    covered: list[Covered] = []
    holes: list[datetime] = []
    for nominal in sorted(owed | fires.keys()):
        found = _cover(nominal, nominal in owed, fires.get(nominal), evidence, eras)
        if found is None:
            holes.append(nominal)
        else:
            covered.append(found)
    active = [era for era in eras if not era.change.deleted]
    exhausted = [
        (max(e.since, e.exhausted_since), e.until)
        for e in active
        if e.exhausted_since is not None and not e.change.paused
    ]
    return Coverage(
        occurrences=covered,
        holes=holes,
        paused=_cut([(e.since, e.until) for e in active if e.change.paused], span),
        exhausted=_cut(exhausted, span),
    )


def _eras(evidence: Evidence) -> Iterator[_Era]:
    changes = evidence.changes
    for change, following in zip(changes, [*changes[1:], None], strict=True):
        over = evidence.clock if following is None else following
        yield _Era(
            since=change.at,
            until=None if following is None else following.at,
            change=change,
            exhausted_since=over.exhausted_since,
        )


def _owed(schedule_id: str, eras: Sequence[_Era], span: Span) -> Mapping[datetime, datetime]:
    """(nominal, due) of what came, or will come, due while its definition was in force."""
    owed: dict[datetime, datetime] = {}
    for era in eras:
        cadence = era.change.cadence
        # Jitter moves a due time by less than itself, so no earlier nominal can qualify.
        jitter = timedelta(seconds=cadence.jitter_seconds)
        after = max(span.since - INSTANT, era.since - jitter - INSTANT)
        until = span.until if era.owes_until is None else min(span.until, era.owes_until)
        if until <= after:
            continue
        if len(owed) + count_occurrences(cadence, after, until) > MOST:
            raise too_many()
        for nominal in occurrences(cadence, after, until):
            due = due_at(cadence, schedule_id, nominal)
            if era.since < due and (era.owes_until is None or due < era.owes_until):
                owed[nominal] = due
    return owed


def too_many() -> InvalidInput:
    """The span is too long."""
    return InvalidInput(
        "from", f"up to `to` there are more than {MOST:,} occurrences; ask for a shorter stretch"
    )


def _cover(
    nominal: datetime, owed: bool, fire: LedgerFire | None, evidence: Evidence, eras: Sequence[_Era]
) -> Covered | None:
    """None: a hole."""
    if fire is not None and (fire.stands or not owed):
        reason = fire.reason and fire.reason.value
        return Covered(nominal_at=nominal, fire_id=fire.id, state=fire.state.value, reason=reason)
    gap = next((g for g in evidence.gaps if g.from_at <= nominal < g.to_at), None)
    if gap is not None:
        return _without_row(nominal, Cover.MISSED, gap.reason.value)
    stands_at = evidence.clock.next_nominal_at
    if stands_at is None or nominal < stands_at:
        return None
    due = due_at(eras[-1].change.cadence, evidence.schedule_id, nominal)
    if due <= evidence.now:
        return _without_row(nominal, Cover.HELD, evidence.held_because)
    skipped = nominal in evidence.skips
    reason = FireReason.SKIPPED_BY_USER.value if skipped else None
    return _without_row(nominal, Cover.UPCOMING, reason)


def _without_row(nominal: datetime, cover: Cover, reason: str | None) -> Covered:
    return Covered(nominal_at=nominal, fire_id=None, state=cover.value, reason=reason)


def _cut(stretches: Sequence[tuple[datetime, datetime | None]], span: Span) -> list[Stretch]:
    """To the span; one that goes on in the next is one."""
    found: list[Stretch] = []
    for since, until in stretches:
        start = max(since, span.since)
        end = span.until if until is None else min(until, span.until)
        if start >= end:
            continue
        if found and found[-1].until == start:
            found[-1] = Stretch(found[-1].since, end)
        else:
            found.append(Stretch(start, end))
    return found
