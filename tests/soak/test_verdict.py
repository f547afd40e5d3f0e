"""The judge of the soak convicts: each offence, and only that one, from the evidence of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soak.occurrences import Expected
from soak.verdict import Evidence, GapRow, Received, Row, judge

BEGAN = datetime(2026, 6, 24, 9, 0, 0, 1, tzinfo=UTC)
TIMES = [datetime(2026, 6, 24, 9, 0, second, tzinfo=UTC) for second in (10, 20, 30)]


def received(at: datetime, **changes: Any) -> Received:
    fields: dict[str, Any] = {
        "at": at.timestamp() + 0.02,
        "is_input": True,
        "schedule_id": "s",
        "nominal_at": at,
        "fire_id": f"f-{at}",
        "task_id": f"t-{at}",
        "handled": True,
        "dedupes": True,
    }
    return Received(**(fields | changes))


def row(at: datetime, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "fire_id": f"f-{at}",
        "schedule_id": "s",
        "nominal_at": at,
        "due_at": at,
        "state": "delivered",
        "reason": None,
        "possible_duplicate": False,
    }
    return Row(**(fields | changes))


CLEAN = Evidence(
    expected=[Expected("s", "a", BEGAN, interval_seconds=10)],
    until=datetime(2026, 6, 24, 9, 0, 35, tzinfo=UTC),
    received=[received(at) for at in TIMES],
    rows=[row(at) for at in TIMES],
    gaps=[],
)


def offences(evidence: Evidence) -> dict[str, int]:
    return {name: count for name, count in judge(evidence).offences.all().items() if count}


def with_first(evidence: Evidence, **changes: Any) -> Evidence:
    """The first occurrence's row says something else."""
    return replace(evidence, rows=[replace(evidence.rows[0], **changes), *evidence.rows[1:]])


def without_first_input(evidence: Evidence) -> Evidence:
    return replace(evidence, received=evidence.received[1:])


def also(*more: Received) -> Evidence:
    return replace(CLEAN, received=[*CLEAN.received, *more])


def test_all_delivered_once_is_a_promise_kept() -> None:
    verdict = judge(CLEAN)
    assert verdict.kept
    assert (verdict.occurrences, verdict.delivered) == (3, 3)
    assert verdict.ends == {"delivered": 3}


def test_what_the_ledger_calls_delivered_and_no_agent_received_is_lost() -> None:
    assert offences(without_first_input(CLEAN)) == {"lost": 1}


def test_an_occurrence_that_ended_with_a_reason_is_not_lost() -> None:
    ended = with_first(without_first_input(CLEAN), state="skipped", reason="overlap")
    verdict = judge(ended)
    assert verdict.kept
    assert verdict.ends == {"delivered": 2, "skipped/overlap": 1}


def test_an_occurrence_without_row_and_gap_is_a_hole() -> None:
    assert offences(replace(without_first_input(CLEAN), rows=CLEAN.rows[1:])) == {
        "lost": 1,
        "holes": 1,
    }


def test_a_delivery_that_the_ledger_does_not_know_is_a_hole_but_not_lost() -> None:
    assert offences(replace(CLEAN, rows=CLEAN.rows[1:])) == {"holes": 1}


def test_what_a_gap_covers_is_missed_and_no_hole() -> None:
    gap = GapRow("s", BEGAN, TIMES[1])
    evidence = replace(without_first_input(CLEAN), rows=CLEAN.rows[1:], gaps=[gap])
    assert offences(evidence) == {"missed": 1}
    assert judge(evidence).ends["gap"] == 1


def test_a_row_that_ended_missed_is_missed() -> None:
    evidence = with_first(without_first_input(CLEAN), state="missed", reason="coalesced")
    assert offences(evidence) == {"missed": 1}
    assert offences(replace(evidence, late_limit_seconds=60)) == {}


def test_a_fire_and_a_gap_on_one_occurrence_cover_it_twice() -> None:
    evidence = replace(CLEAN, gaps=[GapRow("s", BEGAN, TIMES[1])])
    assert offences(evidence) == {"missed": 1, "covered_twice": 1}


def test_two_rows_of_one_occurrence_cover_it_twice() -> None:
    evidence = replace(CLEAN, rows=[*CLEAN.rows, row(TIMES[0], fire_id="another")])
    assert offences(evidence) == {"covered_twice": 1}


@pytest.mark.parametrize("state", ["planned", "claimed", "task_created"])
def test_a_fire_that_has_not_come_to_an_end_is_unfinished(state: str) -> None:
    assert offences(with_first(CLEAN, state=state)) == {"unfinished": 1}


def test_a_second_task_for_one_occurrence_is_an_offence_even_before_any_input() -> None:
    assert offences(also(received(TIMES[0], task_id="other", is_input=False))) == {
        "duplicate_tasks": 1
    }


def test_a_repeated_input_must_be_marked_though_the_agent_dedupes() -> None:
    repeated = also(received(TIMES[0], handled=False))
    assert offences(repeated) == {"duplicates_unmarked": 1}
    marked = with_first(repeated, possible_duplicate=True)
    assert offences(marked) == {}
    assert judge(marked).duplicates_marked == 1


def test_an_agent_that_dedupes_and_takes_an_occurrence_twice_was_given_another_key() -> None:
    evidence = with_first(also(received(TIMES[0])), possible_duplicate=True)
    assert offences(evidence) == {"duplicate_inputs_handled": 1}


def test_an_agent_that_does_not_dedupe_may_take_a_marked_one_twice() -> None:
    evidence = with_first(also(received(TIMES[0], dedupes=False)), possible_duplicate=True)
    assert offences(evidence) == {}


def test_an_input_before_its_due_time_is_early() -> None:
    evidence = with_first(CLEAN, due_at=TIMES[0] + timedelta(seconds=5))
    assert offences(evidence) == {"early": 1}


def test_an_input_later_than_the_limit_is_stale() -> None:
    late = replace(received(TIMES[0]), at=TIMES[0].timestamp() + 61)
    evidence = replace(CLEAN, received=[late, *CLEAN.received[1:]])
    assert offences(evidence) == {}
    assert offences(replace(evidence, late_limit_seconds=60)) == {"stale": 1}


def test_an_input_of_no_occurrence_is_uncalled_for() -> None:
    assert offences(also(received(TIMES[0] + timedelta(seconds=3)))) == {"uncalled_for": 1}


def test_a_deadlock_in_the_servers_log_is_an_offence() -> None:
    assert offences(replace(CLEAN, deadlocks=1)) == {"deadlocks": 1}


def test_what_comes_after_the_end_is_not_judged() -> None:
    after = CLEAN.until + timedelta(seconds=5)
    assert offences(also(received(after))) == {}


def test_a_hole_that_the_products_own_audit_finds_breaks_the_promise() -> None:
    assert judge(replace(CLEAN, holes_by_the_audit=0)).kept
    assert not judge(replace(CLEAN, holes_by_the_audit=1)).kept
