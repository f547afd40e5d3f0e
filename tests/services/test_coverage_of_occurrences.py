"""The invariant: every occurrence is covered by exactly one fire, else gap, or a paused stretch.

Random edits, outages and ticks against a store whose clock the test sets; the audit then finds no
hole. Take a row away, and it does.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.coverage import Coverage
from schedules_pipeline.domain.occurrences import occurrences
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.policies import CatchupPolicy, Policies
from schedules_pipeline.domain.schedule import Agent
from schedules_pipeline.errors import Rejected
from schedules_pipeline.services.coverage import Audits
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore, PostgresTransaction
from tests.factories import a_draft
from tests.ledger import RULES, an_agent, database_now, query

T = TypeVar("T")
BEGINNING = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
_names = itertools.count(1)


class SimulatedTime(PostgresTransaction):
    """A transaction whose use cases read the time that the test has set."""

    at: datetime

    def now(self) -> datetime:
        """Instead of the database's clock."""
        return self.at


class SimulatedStore(PostgresStore):
    """The store, at a time of the test's choice."""

    at: datetime

    def run(self, work: Callable[[Transaction], T]) -> T:
        """`work` at that time."""

        def at_that_time(connection: Any) -> T:
            transaction = SimulatedTime(connection)
            transaction.at = self.at
            return work(transaction)

        return self.on_connection(at_that_time)


@pytest.fixture(scope="module")
def simulated(module_database_url: str) -> Iterator[tuple[SimulatedStore, Agent]]:
    """One database for all examples; each has a schedule of its own, deleted at its end."""
    store = SimulatedStore(with_driver(module_database_url, "psycopg"), pool_size=2)
    store.at = database_now(store)
    yield store, an_agent(store)
    store.close()


@dataclass
class Life:
    """A schedule's life in simulated time."""

    store: SimulatedStore
    agent: Agent
    cadence: Cadence
    policies: Policies
    schedule_id: str = ""

    def begin(self) -> None:
        # A create asks the database for the time, with the agent: so it is paused, then resumed.
        draft = a_draft(
            name=f"life-{next(_names)}", cadence=self.cadence, policies=self.policies, paused=True
        )
        self.schedule_id = Schedules(self.store, RULES).create(self.agent.id, draft, {}).schedule.id
        self.step("resume", None)

    def step(self, operation: str, value: Any) -> None:
        if operation == "wait":
            self.store.at += timedelta(seconds=value)
            return
        # No two things happen in one instant.
        self.store.at += timedelta(milliseconds=7)
        if operation == "tick":
            Planner(self.store, RULES).plan(lambda: False)
            return
        editor, of = Editor(self.store, RULES), (self.agent.id, self.schedule_id)
        if operation == "pause":
            editor.pause(*of, {}, None)
        elif operation == "resume":
            editor.resume(*of, {}, None)
        elif operation == "patch":
            editor.update(*of, partial(patched, given=value), {})
        else:
            try:
                self._skip(editor, operation, value)
            except Rejected:
                return

    def _skip(self, editor: Editor, operation: str, which: int) -> None:
        (row,) = query(self.store, "select * from agent_run_schedules where id = :id",
                       id=self.schedule_id)  # fmt: skip
        cadence = Cadence(
            interval_seconds=row.interval_seconds,
            cron_expression=row.cron_expression,
            jitter_seconds=row.jitter_seconds,
        )
        nominal = next(itertools.islice(occurrences(cadence, self.store.at), which, None))
        act = editor.skip if operation == "skip" else editor.unskip
        act(self.agent.id, self.schedule_id, nominal, {})

    def audit(self) -> Coverage:
        """The whole of it, as production computes it."""
        since = BEGINNING - timedelta(days=1)
        audits = Audits(self.store)
        return audits.of_schedule(self.agent.id, self.schedule_id, since, self.store.at)

    def end(self) -> None:
        Editor(self.store, RULES).delete(self.agent.id, self.schedule_id, {})


def rows_of(life: Life, table: str) -> Sequence[Any]:
    return query(life.store, f"select * from {table} where schedule_id = :id", id=life.schedule_id)


CADENCES = st.sampled_from(
    [
        {"interval_seconds": 1},
        {"interval_seconds": 7},
        {"interval_seconds": 20},
        {"interval_seconds": 60},
        {"interval_seconds": 3_600},
        {"cron_expression": "*/5 * * * *"},
        {"interval_seconds": 60, "jitter_seconds": 50},
        {"interval_seconds": 600, "jitter_seconds": 600},
        {"jitter_seconds": 0},
        {"jitter_seconds": 30},
        {"description": "not of when"},
    ]
)
# So long at most that an audit may look at all of it: 10,000 occurrences.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.one_of(st.floats(0.5, 40), st.floats(40, 3_000))),
        st.tuples(st.just("tick"), st.none()),
        st.tuples(st.just("tick"), st.none()),
        st.tuples(st.just("patch"), CADENCES),
        st.tuples(st.sampled_from(["pause", "resume"]), st.none()),
        st.tuples(st.sampled_from(["skip", "unskip"]), st.integers(0, 3)),
    ),
    min_size=3,
    max_size=14,
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    begins=st.floats(0, 120),
    first=st.sampled_from([5, 13, 60, 600, 5_400]),
    policy=st.sampled_from(CatchupPolicy),
    window=st.sampled_from([0, 600, 3_600]),
    steps=STEPS,
)
def test_every_occurrence_has_its_fire_else_its_gap_whatever_was_edited_and_when(
    simulated: tuple[SimulatedStore, Agent],
    begins: float,
    first: int,
    policy: CatchupPolicy,
    window: int,
    steps: list[tuple[str, Any]],
) -> None:
    store, agent = simulated
    store.at = BEGINNING + timedelta(seconds=begins)
    policies = Policies(catchup_policy=policy, catchup_window_seconds=window)
    life = Life(store, agent, Cadence(interval_seconds=first), policies)
    life.begin()
    try:
        for operation, value in steps:
            life.step(operation, value)
        # The clock goes on: what is behind is caught up with.
        for _ in range(2):
            life.step("tick", None)
        every_occurrence_is_covered(life)
    finally:
        life.end()


def every_occurrence_is_covered(life: Life) -> None:
    coverage = life.audit()
    assert coverage.holes == []
    fires = {row.nominal_at: row for row in rows_of(life, "fires")}
    gaps = rows_of(life, "gaps")

    assert len(fires) == len(rows_of(life, "fires"))
    for each in coverage.occurrences:
        if each.state == "missed":
            holding = [gap for gap in gaps if gap.from_at <= each.nominal_at < gap.to_at]
            assert len(holding) == 1, (each, holding)
    # Nothing of the past is replayed: a fire that is to go out is ahead, or was planned before a
    # pause that its claim will see, or its schedule owed it.
    owed = {each.nominal_at for each in coverage.occurrences if each.fire_id is not None}
    for nominal, row in fires.items():
        if row.state == "planned" and row.due_at < life.store.at:
            assert nominal in owed or any(p.since <= row.due_at < p.until for p in coverage.paused)


def test_a_row_taken_away_is_a_hole(simulated: tuple[SimulatedStore, Agent]) -> None:
    store, agent = simulated
    store.at = BEGINNING
    life = Life(store, agent, Cadence(interval_seconds=20), Policies())
    life.begin()
    try:
        for operation, value in (("tick", None), ("wait", 45), ("tick", None)):
            life.step(operation, value)
        assert life.audit().holes == []
        gone = BEGINNING + timedelta(seconds=20)
        query(store, "delete from fires where schedule_id = :id and nominal_at = :at",
              id=life.schedule_id, at=gone)  # fmt: skip
        assert life.audit().holes == [gone]
    finally:
        life.end()
