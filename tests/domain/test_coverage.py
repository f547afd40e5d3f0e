"""What covers an occurrence, and what is a hole: judged on evidence alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.coverage import (
    Change,
    ClockStanding,
    Coverage,
    Evidence,
    LedgerFire,
    Span,
    Stretch,
    cover_span,
)
from schedules_pipeline.domain.fire import FireReason, FireState, GapReason
from schedules_pipeline.domain.planning import Gap

NOON = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def a_change(minutes: float, every: int = 60, **changes: Any) -> Change:
    fields: dict[str, Any] = {"paused": False, "deleted": False, "exhausted_since": None}
    cadence = Cadence(interval_seconds=every)
    return Change(at=at(minutes), cadence=cadence, **(fields | changes))


def a_fire(
    minutes: float, state: FireState = FireState.DELIVERED, reason: FireReason | None = None
) -> LedgerFire:
    return LedgerFire(id=f"f{minutes}", nominal_at=at(minutes), state=state, reason=reason)


def found(
    *changes: Change,
    to: float,
    now: float = 100,
    clock_at: float | None = None,
    exhausted: float | None = None,
    fires: tuple[LedgerFire, ...] = (),
    gaps: tuple[Gap, ...] = (),
    skips: tuple[float, ...] = (),
) -> Coverage:
    evidence = Evidence(
        schedule_id="s",
        now=at(now),
        changes=changes,
        clock=ClockStanding(
            next_nominal_at=None if clock_at is None else at(clock_at),
            exhausted_since=None if exhausted is None else at(exhausted),
        ),
        fires=fires,
        gaps=gaps,
        skips=frozenset(map(at, skips)),
        held_because="clock_behind",
    )
    return cover_span(evidence, Span(since=at(0), until=at(to)))


def said(coverage: Coverage) -> list[tuple[float, str, str | None]]:
    return [
        ((each.nominal_at - NOON).total_seconds() / 60, each.state, each.reason)
        for each in coverage.occurrences
    ]


def test_its_own_fire_covers_it_else_the_gap_else_it_is_a_hole() -> None:
    gap = Gap(from_at=at(2), to_at=at(3), reason=GapReason.COALESCED)
    coverage = found(a_change(-5), to=3.5, clock_at=101, fires=(a_fire(0), a_fire(1)), gaps=(gap,))
    assert said(coverage) == [
        (0, "delivered", None),
        (1, "delivered", None),
        (2, "missed", "coalesced"),
    ]
    assert coverage.holes == [at(3)]


def test_what_the_clock_has_not_come_to_is_held_or_upcoming() -> None:
    coverage = found(a_change(-5), to=3, now=1.5, clock_at=1, fires=(a_fire(0),), skips=(3,))
    assert said(coverage)[1:] == [
        (1, "held", "clock_behind"),
        (2, "upcoming", None),
        (3, "upcoming", "skipped_by_user"),
    ]


def test_the_definition_of_the_time_counts_not_todays() -> None:
    coverage = found(a_change(-5, every=60), a_change(1.5, every=120), to=4, clock_at=200)
    assert coverage.holes == [at(0), at(1), at(2), at(4)]


def test_nothing_is_owed_while_paused_or_after_a_delete() -> None:
    changes = (a_change(-5, paused=True), a_change(2.5), a_change(3.5, deleted=True))
    coverage = found(*changes, to=9)
    assert coverage.holes == [at(3)]
    assert coverage.paused == [Stretch(at(0), at(2.5))]


def test_nothing_is_owed_after_the_last_fire_allowed_until_the_limit_is_raised() -> None:
    changes = (a_change(-5), a_change(3.5, exhausted_since=at(1)))
    coverage = found(*changes, to=6, exhausted=5.5, fires=tuple(map(a_fire, (0, 1, 4, 5))))
    assert coverage.holes == []
    assert coverage.exhausted == [Stretch(at(1), at(3.5)), Stretch(at(5.5), at(6))]


def test_an_occurrence_that_a_change_took_out_and_another_brought_back_needs_cover() -> None:
    taken = a_fire(1, FireState.CANCELLED, FireReason.SCHEDULE_CHANGED)
    coverage = found(a_change(0.5), to=1, clock_at=5, fires=(taken,))
    assert coverage.holes == [at(1)]
    unowed = found(a_change(2), to=1, clock_at=5, fires=(taken,))
    assert said(unowed) == [(1, "cancelled", "schedule_changed")]


def test_a_paused_stretch_with_an_edit_in_it_is_one() -> None:
    coverage = found(a_change(-5, paused=True), a_change(1, paused=True), to=2)
    assert coverage.paused == [Stretch(at(0), at(2))]
