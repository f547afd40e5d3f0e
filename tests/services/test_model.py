"""Random lives of schedules, on the real store, step by step against the reference ledger.

Creates, edits, triggers, ticks, claims, and runs that die with fires in hand; the clock is the
database's, and the test sets it. After each step the ledger says what the reference says, and what
went out is what an edit that had been answered left standing.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.fire import FireReason, FireState
from schedules_pipeline.domain.patching import patched
from schedules_pipeline.domain.policies import CatchupPolicy, Policies
from schedules_pipeline.domain.slices import Slice, SliceKind, floor_hour
from schedules_pipeline.errors import Rejected
from schedules_pipeline.services.claiming import ClaimedFire, claim
from schedules_pipeline.services.editing import Editor
from schedules_pipeline.services.managing import Schedules
from schedules_pipeline.services.outcomes import write_outcomes
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.services.stored import EndedRun, OpenFire, Outcome
from schedules_pipeline.services.tasks import Tasks
from schedules_pipeline.services.ticking import Clock
from schedules_pipeline.services.triggering import Triggers
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.factories import a_draft
from tests.ledger import GRACE, RULES, an_agent, query
from tests.services.reference_ledger import ReferenceLedger
from tests.simulated import give_a_clock, set_clock

EXAMPLES = int(os.environ.get("SCHEDULES_TEST_EXAMPLES", "6"))
STEPS = 50
# To shrink a life of fifty steps takes minutes: whoever asks for more lives gets that too.
PHASES = tuple(Phase) if EXAMPLES > 6 else (Phase.generate,)
BEGINNING = int(datetime(2027, 3, 1, 12, tzinfo=UTC).timestamp())
INTERVALS = st.sampled_from([5, 7, 20, 60, 90, 600, 5_400])
POLICIES = st.builds(
    Policies,
    catchup_policy=st.sampled_from(CatchupPolicy),
    catchup_window_seconds=st.sampled_from([0, 120, 600]),
)
# Before an edit the clock may not have run for a while.
SILENCE = st.sampled_from([0, 0, 0, 100, 500])
SOME = st.integers(0, 10)
_numbers = itertools.count(1)


def instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@dataclass
class Sent:
    """An input that went out: under which key, with what content; `wanted`: by its first claim."""

    key: str
    content: str
    wanted: str


@dataclass
class Life:
    """A schedule and its reference; `manual`: its triggered fires, and how each stands."""

    id: str
    model: ReferenceLedger
    manual: dict[str, str] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)


class LedgerMachine(RuleBasedStateMachine):
    """One schedule or a few; every example has an agent of its own."""

    store: PostgresStore
    url: str

    @initialize(second=st.integers(0, 119), policies=st.lists(POLICIES, min_size=2, max_size=2))
    def begin(self, second: int, policies: list[Policies]) -> None:
        self.now = BEGINNING + second + 0.5
        set_clock(self.url, instant(self.now))
        self.standby: tuple[str, str] | None = None
        self.lives: list[Life] = []
        self.sent: list[Sent] = []
        self.wanted: dict[str, str] = {}
        self.agent = an_agent(self.store)
        self.editor = Editor(self.store, RULES)
        self.clock = Clock(self.store, RULES, Tasks(self.store).not_final)
        self.tick()
        for interval, each in zip((5, 60), policies, strict=True):
            self.create(interval, each)

    def teardown(self) -> None:
        tables = "fires", "gaps", "dispatches", "slices", "clock_heartbeat"
        emptying = "".join(f"delete from {table};" for table in tables)
        stopping = "update schedule_clock set next_nominal_at = null, next_due_at = null"
        query(self.store, f"set local session_replication_role = replica; {emptying} {stopping}")

    def of(self, which: int) -> Life | None:
        """One of the schedules that stand."""
        standing = [life for life in self.lives if not life.model.deleted]
        return standing[which % len(standing)] if standing else None

    # --- what people do -----------------------------------------------------------------------

    @precondition(lambda self: len(self.lives) < 4)
    @rule(interval=INTERVALS, policies=POLICIES)
    def create(self, interval: int, policies: Policies) -> None:
        cadence = Cadence(interval_seconds=interval)
        draft = a_draft(name=f"life-{next(_numbers)}", cadence=cadence, policies=policies)
        made = Schedules(self.store, RULES).create(self.agent.id, draft, {}).schedule
        policy, window = policies.catchup_policy.value, policies.catchup_window_seconds
        model = ReferenceLedger(interval, policy, window)
        model.clock = model.first(self.now)
        model.plan(self.now)
        self.lives.append(Life(made.id, model))

    @rule(which=SOME, interval=INTERVALS, silence=SILENCE)
    def change_when(self, which: int, interval: int, silence: int) -> None:
        self.time_passes(silence, ticks=False, works=False)
        if life := self.of(which):
            given = {"interval_seconds": interval}
            self.editor.update(self.agent.id, life.id, partial(patched, given=given), {})
            life.model.edit_when(self.now, partial(setattr, life.model, "interval", interval))

    @rule(which=SOME, content=st.sampled_from(["a", "b", "c"]))
    def change_what(self, which: int, content: str) -> None:
        if life := self.of(which):
            given = {"initial_input": {"type": "text", "author": "user", "content": content}}
            self.editor.update(self.agent.id, life.id, partial(patched, given=given), {})
            life.model.content = content

    @rule(which=SOME, paused=st.booleans(), silence=SILENCE)
    def pause_or_resume(self, which: int, paused: bool, silence: int) -> None:
        self.time_passes(silence, ticks=False, works=False)
        if life := self.of(which):
            act = self.editor.pause if paused else self.editor.resume
            act(self.agent.id, life.id, {}, None)
            life.model.edit_when(self.now, partial(setattr, life.model, "paused", paused))

    @rule(which=SOME, ahead=st.integers(0, 4))
    def skip(self, which: int, ahead: int) -> None:
        if life := self.of(which):
            at = life.model.first(self.now) + ahead * life.model.interval
            self.editor.skip(self.agent.id, life.id, instant(at), {})
            life.model.skip(at)

    @rule(which=SOME, ahead=st.integers(0, 4))
    def unskip(self, which: int, ahead: int) -> None:
        if not (life := self.of(which)):
            return
        at = life.model.first(self.now) + ahead * life.model.interval
        try:
            self.editor.unskip(self.agent.id, life.id, instant(at), {})
        except Rejected:
            assert at not in life.model.skips
        else:
            life.model.unskip(at, self.now)

    @rule(which=SOME)
    def trigger(self, which: int) -> None:
        if life := self.of(which):
            fire = Triggers(self.store).trigger(self.agent.id, life.id)
            life.manual[fire] = "planned"
            life.asked_at[fire] = self.now

    @rule()
    def standby_comes_or_goes(self) -> None:
        """What joins the standby while it is up is worked like any other slice's."""
        if self.standby is not None:
            run, key = self.standby
            self._run_ends(run, key)
            self.standby = None
        else:
            hour = Slice(SliceKind.NOW, floor_hour(instant(self.now)))
            self.store.run(lambda tx: tx.slices.provide({hour}, tx.now()))
            self.standby = self._run_begins(hour.key), hour.key

    @precondition(lambda self: len(self.lives) == 4)
    @rule(which=SOME)
    def delete(self, which: int) -> None:
        if life := self.of(which):
            self.editor.delete(self.agent.id, life.id, {})
            life.model.delete(self.now)

    # --- what happens by itself ---------------------------------------------------------------

    @rule(
        seconds=st.sampled_from([1, 3, 10, 29, 31, 60, 61, 125, 700, 4_000]),
        ticks=st.booleans(),
        works=st.booleans(),
    )
    def time_passes(self, seconds: int, ticks: bool, works: bool) -> None:
        self.now += seconds
        set_clock(self.url, instant(self.now))
        if self.standby is not None:
            run, _ = self.standby
            assert self.store.run(lambda tx: tx.dispatches.heartbeat(run))
        if ticks:
            self.tick()
        if works:
            self.work(agent_answers=True)

    def tick(self) -> None:
        self.clock.tick(lambda _since: [])
        for life in self.lives:
            life.model.plan(self.now)

    @rule(agent_answers=st.booleans())
    def work(self, agent_answers: bool) -> None:
        """Runs work every slice until nothing that is due is open."""
        # Again, for what waited for a fire of its schedule that another slice's run had left.
        while sum(self._work_slice(key, agent_answers) for key in self._owing()):
            pass
        for life in self.lives:
            self._all_that_was_due_has_ended(life, agent_answers)

    def _work_slice(self, key: str, agent_answers: bool) -> bool:
        """Whether there was anything to do."""
        found = False
        run = self._run_begins(key)
        while claimed := self._claim(key, run):
            found = True
            self._see_to_their_ends(claimed, run, agent_answers)
        self._run_ends(run, key)
        return found

    @rule(
        seconds=st.sampled_from([1, 10, 60, 700]),
        task_created=st.booleans(),
        input_sent=st.booleans(),
    )
    def die(self, seconds: int, task_created: bool, input_sent: bool) -> None:
        """A run claims what is due, and is killed before it has written how that ended."""
        self.time_passes(seconds, ticks=True, works=False)
        for key in self._owing()[:1]:
            run = self._run_begins(key)
            fresh, again = self._parted(self._claim(key, run))
            if task_created:
                self._write(fresh, run, FireState.TASK_CREATED)
            if input_sent:
                self._write(again, run, FireState.TASK_CREATED, doubtful=True)
                self._send(again + (fresh if task_created else []))
            self._run_ends(run, key)
        for life in self.lives:
            self._what_moved_was_due(life)

    def _owing(self) -> list[str]:
        rows = query(
            self.store,
            "select distinct slice_key from fires where finished_at is null "
            "and due_at <= statement_timestamp() order by 1",
        )
        return [row.slice_key for row in rows]

    def _run_begins(self, key: str) -> str:
        run = f"run-{next(_numbers)}"
        assert self.store.run(
            lambda tx: tx.dispatches.begin(run, key, by_person=False, host="test", pid=0)
        )
        return run

    def _run_ends(self, run: str, key: str) -> None:
        ended = [EndedRun(dagster_run_id=run, slice_key=key)]
        assert self.store.run(lambda tx: tx.dispatches.finish_ended(ended))

    def _claim(self, key: str, run: str) -> list[ClaimedFire]:
        def work(tx: Transaction) -> list[ClaimedFire]:
            tx.dispatches.require_live(run)
            wanted: list[OpenFire] = list(tx.claims.open_in(key, run, 5_000))
            return list(claim(tx, wanted, run, GRACE).claimed)

        claimed = self.store.run(work)
        # What a fire says is decided by its first claim; whoever takes it over says the same.
        contents = {life.id: life.model.content for life in self.lives}
        for fire in claimed:
            key = fire.assignment.idempotency_key
            self.wanted.setdefault(key, contents[fire.schedule_id])
        return claimed

    def _see_to_their_ends(self, claimed: list[ClaimedFire], run: str, agent_answers: bool) -> None:
        fresh, again = self._parted(claimed)
        unknown = [fire for fire in claimed if fire not in fresh + again]
        self._write(unknown, run, FireState.FAILED, FireReason.DELIVERY_UNKNOWN)
        self._write(fresh, run, FireState.TASK_CREATED)
        self._write(again, run, FireState.TASK_CREATED, doubtful=True)
        if agent_answers:
            self._send(fresh + again)
            self._write(fresh + again, run, FireState.DELIVERED)
        else:
            self._write(fresh + again, run, FireState.FAILED, FireReason.UNREACHABLE)

    def _parted(self, claimed: list[ClaimedFire]) -> tuple[list[ClaimedFire], list[ClaimedFire]]:
        """Those whose input has not gone out, and those whose input may be sent once more."""
        fresh = [fire for fire in claimed if not fire.task_created]
        return fresh, [fire for fire in claimed if fire.task_created and fire.may_send_again]

    def _send(self, claimed: list[ClaimedFire]) -> None:
        for fire in claimed:
            key, content = fire.assignment.idempotency_key, fire.assignment.input_content
            self.sent.append(Sent(key, content, self.wanted[key]))

    def _write(
        self,
        fires: list[ClaimedFire],
        run: str,
        state: FireState,
        reason: FireReason | None = None,
        *,
        doubtful: bool = False,
    ) -> None:
        outcomes = [
            Outcome(
                fire_id=fire.fire_id,
                schedule_id=fire.schedule_id,
                state=state,
                reason=reason,
                attempts=1,
                possible_duplicate=doubtful,
            )
            for fire in fires
        ]
        kept = self.store.run(lambda tx: write_outcomes(tx, outcomes, run))
        assert kept == {fire.fire_id for fire in fires}

    # --- the reference follows ----------------------------------------------------------------

    def _all_that_was_due_has_ended(self, life: Life, agent_answers: bool) -> None:
        delivered = "delivered" if agent_answers else "failed/unreachable"
        for at in life.model.due(self.now):
            verdict = life.model.verdict(at, self.now)
            life.model.fires[at] = delivered if verdict == "deliver" else verdict
        for fire, state in life.manual.items():
            if state in ("planned", "claimed", "task_created"):
                verdict = self._manual_verdict(life, fire)
                life.manual[fire] = delivered if verdict == "deliver" else verdict

    def _what_moved_was_due(self, life: Life) -> None:
        """Of what was due, a run that died has claimed some and ended some: as the verdict says."""
        scheduled, manual = self._rows(life)
        for at in life.model.due(self.now):
            found = scheduled[at]
            if found != life.model.fires[at]:
                self._agree(life.model.verdict(at, self.now), found)
                life.model.fires[at] = found
        for fire, state in life.manual.items():
            if manual[fire] != state:
                self._agree(self._manual_verdict(life, fire), manual[fire])
                life.manual[fire] = manual[fire]

    def _agree(self, verdict: str, found: str) -> None:
        assert found in ("claimed", "task_created") if verdict == "deliver" else found == verdict

    def _manual_verdict(self, life: Life, fire: str) -> str:
        """A person asked for it: neither a pause nor a policy stands in its way, but age does."""
        state = life.manual[fire]
        if state == "planned" and life.model.deleted:
            return "skipped/deleted"
        if life.asked_at[fire] < self.now - max(life.model.window, 3_600):
            return "failed/delivery_unknown" if state == "task_created" else "missed/stale"
        return "deliver"

    # --- and they say the same ----------------------------------------------------------------

    @invariant()
    def the_ledger_says_what_the_reference_says(self) -> None:
        for life in self.lives:
            scheduled, manual = self._rows(life)
            assert scheduled == life.model.fires
            assert manual == life.manual
            gaps = query(
                self.store,
                "select from_at, to_at, reason from gaps where schedule_id = :id order by from_at",
                id=life.id,
            )
            found = [(g.from_at.timestamp(), g.to_at.timestamp(), g.reason) for g in gaps]
            assert found == life.model.gaps

    @invariant()
    def nothing_goes_out_twice_unmarked(self) -> None:
        times = Counter(sent.key for sent in self.sent)
        twice = [key for key, count in times.items() if count > 1]
        rows = query(self.store, "select id from fires where id = any(:ids) "
                                 "and not possible_duplicate", ids=twice)  # fmt: skip
        assert rows == []

    @invariant()
    def what_goes_out_is_the_definition_in_force_at_its_claim(self) -> None:
        assert all(sent.content == sent.wanted for sent in self.sent)

    def _rows(self, life: Life) -> tuple[dict[int, str], dict[str, str]]:
        rows = query(self.store, "select id, nominal_at, trigger_type, state, reason from fires "
                                 "where schedule_id = :id", id=life.id)  # fmt: skip
        stands = {row.id: "/".join(filter(None, (row.state, row.reason))) for row in rows}
        scheduled = {
            int(row.nominal_at.timestamp()): stands[row.id]
            for row in rows
            if row.trigger_type == "scheduled"
        }
        return scheduled, {r.id: stands[r.id] for r in rows if r.trigger_type == "manual"}


@pytest.fixture(scope="module")
def machine(module_database_url: str) -> Iterator[type[LedgerMachine]]:
    """On a database whose clock stands still until a step moves it."""
    give_a_clock(module_database_url)
    LedgerMachine.url = module_database_url
    LedgerMachine.store = PostgresStore(with_driver(module_database_url, "psycopg"), pool_size=2)
    yield LedgerMachine
    LedgerMachine.store.close()


def test_whatever_happens_the_ledger_says_what_the_reference_says(
    machine: type[Any],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
