"""The invariant: every occurrence is covered by exactly one fire, else gap, or a paused stretch.

Random edits, outages and ticks against a store whose clock the test sets. What had to happen is
recomputed from `schedule_changes` alone: each row's definition, in force until the next one.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.occurrences import due_at, occurrences
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.policies import CatchupPolicy, Policies
from schedules_pipeline.domain.schedule import Agent
from schedules_pipeline.errors import Rejected
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


@dataclass(frozen=True, slots=True)
class Stretch:
    """[since, until): this definition was in force."""

    since: datetime
    until: datetime
    cadence: Cadence
    paused: bool


@dataclass
class Life:
    """A schedule's life in simulated time."""

    store: SimulatedStore
    agent: Agent
    cadence: Cadence
    policies: Policies
    edited_at: list[datetime] = field(default_factory=list)
    schedule_id: str = ""

    def begin(self) -> None:
        # A create asks the database for the time, with the agent: so it is paused, then resumed.
        draft = a_draft(
            name=f"life-{next(_names)}", cadence=self.cadence, policies=self.policies, paused=True
        )
        self.schedule_id = Schedules(self.store, RULES).create(self.agent.id, draft, {}).schedule.id
        self.edited_at.append(self.store.at)
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
        self.edited_at.append(self.store.at)

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

    def history(self) -> list[Stretch]:
        """From the change history; only the times are the test's, for the table's are real."""
        rows = query(self.store, "select after from schedule_changes where schedule_id = :id "
                                 "order by id", id=self.schedule_id)  # fmt: skip
        assert len(rows) == len(self.edited_at)
        ends = [*self.edited_at[1:], self.store.at]
        return [
            Stretch(
                since,
                until,
                Cadence(
                    interval_seconds=row.after["interval_seconds"],
                    cron_expression=row.after["cron_expression"],
                    jitter_seconds=row.after["jitter_seconds"],
                ),
                row.after["paused"],
            )
            for row, since, until in zip(rows, self.edited_at, ends, strict=True)
        ]

    def had_to_happen(self) -> set[datetime]:
        """Each occurrence whose due time came while its definition was in force, not paused."""
        return {
            nominal
            for stretch in self.history()
            if not stretch.paused
            for nominal in occurrences(
                stretch.cadence,
                stretch.since - timedelta(seconds=stretch.cadence.jitter_seconds),
                stretch.until,
            )
            if stretch.since < due_at(stretch.cadence, self.schedule_id, nominal) < stretch.until
        }

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
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.one_of(st.floats(0.5, 40), st.floats(40, 9_000))),
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
    wanted = life.had_to_happen()
    fires = {row.nominal_at: row for row in rows_of(life, "fires")}
    gaps = rows_of(life, "gaps")

    assert len(fires) == len(rows_of(life, "fires"))
    for nominal in wanted:
        holding = [gap for gap in gaps if gap.from_at <= nominal < gap.to_at]
        if nominal in fires:
            # An edit takes out only what is not due yet. (What an outage left to a gap, more jitter
            # may bring back and less jitter take out again.)
            assert fires[nominal].reason != "schedule_changed" or holding, nominal
        else:
            assert len(holding) == 1, (nominal, holding)
    # Nothing of the past is replayed: a fire that is to go out had to happen, or is ahead, or was
    # planned before a pause that its claim will see.
    paused = [(s.since, s.until) for s in life.history() if s.paused]
    for nominal, row in fires.items():
        if row.state == "planned" and row.due_at < life.store.at and nominal not in wanted:
            assert any(since <= row.due_at < until for since, until in paused), (
                nominal,
                row.due_at,
            )
