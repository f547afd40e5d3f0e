"""What the benches measure with: does it see what it says it sees? Their figures are not judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import report, tick
from bench.filling import fill, run_sql, tidy, within_reach
from bench.instants import tally
from bench.usage import Watch, descendants, usage_below
from bench.watching import explain, watched
from schedules_pipeline.api.schemas import InitialInput
from schedules_pipeline.services.planning import Planner
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import RULES, an_agent, database_now


def test_filled_schedules_are_planned_at_the_instant_they_were_filled_for(
    store: PostgresStore,
) -> None:
    agents = [an_agent(store).id, an_agent(store).id]
    first = within_reach(store)
    fill(store, agents, 4, first=first, every=86_400)
    tidy(store)

    Planner(store, RULES).plan(lambda: False)

    fires = run_sql(store, "select agent_id, due_at, count(*) from fires group by 1, 2 order by 1")
    assert [tuple(row) for row in fires] == [(agent, first, 2) for agent in agents]


def test_a_filled_schedule_has_the_input_that_the_api_would_store(store: PostgresStore) -> None:
    fill(store, [an_agent(store).id], 1, first=within_reach(store), every=60)

    ((stored,),) = run_sql(store, "select initial_input from agent_run_schedules")

    assert stored == InitialInput(content="hello").model_dump()


def test_lateness_of_nothing_keeps_no_budget() -> None:
    assert not report.lateness([])["p99_ms"] <= 1_000


def test_a_watched_tick_shows_its_statements_and_explaining_them_changes_nothing(
    store: PostgresStore,
) -> None:
    fill(store, [an_agent(store).id], 3, first=database_now(store).replace(microsecond=0), every=60)

    with watched() as seen:
        Planner(store, RULES).plan(lambda: False)
    run_sql(store, "truncate fires, slices, dispatches")
    plans = explain(store, seen)

    assert any("Insert on fires" in plan for plan in plans)
    assert all("actual time" in plan for plan in plans)
    assert 0 < seen.seconds < 60
    assert run_sql(store, "select count(*) from fires")[0][0] == 0


def test_watching_ends_with_its_block(store: PostgresStore) -> None:
    with watched() as seen:
        database_now(store)
    database_now(store)

    assert len(seen.statements) == 1


def test_what_was_lost_doubled_and_early_is_counted_against_what_was_due() -> None:
    found = [
        {"fire": "a", "at": 9.9, "due": 10.0},
        {"fire": "b", "at": 10.1, "due": 10.0},
        {"fire": "b", "at": 10.2, "due": 10.0},
    ]

    assert tally(found, 5) == {"fires": 5, "lost": 3, "doubled": 1, "early": 1}


@pytest.mark.parametrize(
    ("milliseconds", "ratio", "held"), [(20.0, 1.3, True), (20.1, 1.0, False), (1.0, 1.31, False)]
)
def test_a_tick_with_nothing_due_is_judged_by_its_time_and_by_its_growth(
    milliseconds: float, ratio: float, held: bool
) -> None:
    small = {"due": 0, "statements ms": 1.0, "ratio to the smallest": 1.0}
    large = {"due": 0, "statements ms": milliseconds, "ratio to the smallest": ratio}
    busy = {"due": 1_000, "statements ms": 900.0, "ratio to the smallest": 9.0}

    assert tick.verdict([small, large, busy]) is held


def test_a_child_that_is_gone_still_counts_in_the_time_of_its_parent() -> None:
    before = usage_below(os.getpid())
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    after = usage_below(os.getpid())

    assert after.cpu - before.cpu >= 0.25
    assert after.rss > after.pss > 0


def test_a_watch_tells_what_a_tree_burnt_and_its_memory_at_the_highest() -> None:
    burn = "import time\nfilled = b'x' * 50_000_000\nwhile time.process_time() < 1.5: pass\ninput()"
    command = [sys.executable, "-c", burn]
    with Watch(lambda: [os.getpid()]) as used:
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert child.pid in descendants(os.getpid())
        child.communicate(b"\n", timeout=120)

    assert used.cpu >= 1.4
    assert used.rss > 50
    assert child.pid not in descendants(os.getpid())


def test_what_is_printed_is_written_as_json_with_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bench.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(target)])

    report.publish("A title", [{"fires": 3}], "What it means.")

    written = json.loads(target.read_text())
    assert written["tables"] == [
        {"title": "A title", "rows": [{"fires": 3}], "about": "What it means."}
    ]
    assert written["machine"]["postgresql"].startswith("18")
    assert "## A title" in capsys.readouterr().out
