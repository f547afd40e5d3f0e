"""What stands side by side, and the page that is made of it."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from bench import environments, questions, side_by_side
from bench.answers import Answer, Answers, middle, participants
from bench.asking import Question
from bench.comparison import compared, comparison
from bench.contenders import Wanted
from bench.document import RESULTS, document
from bench.environments import Unavailable, environment
from bench.house import House
from bench.instants import Input
from bench.limit import at_most
from bench.peers import work
from bench.report import Table, markdown
from bench.rivals import PEERS
from tests.agents import RunningAgent, start_agent

ROOT = Path(__file__).parents[1]


# --- the page ---


def test_the_page_of_figures_is_what_the_recorded_results_make() -> None:
    """Else: `python -m bench document > docs/performance.md`."""
    assert (ROOT / "docs/performance.md").read_text() == document(RESULTS)


def test_a_page_of_no_results_says_how_to_get_some(tmp_path: Path) -> None:
    assert 'make bench ARGS="side-by-side --into bench/results"' in document(tmp_path)


def test_the_page_says_who_took_part_once_then_each_question_then_other_benches(
    tmp_path: Path,
) -> None:
    for question in ("crash", "burst"):
        of = Answers(question, question.title(), "It.", "fires")
        of.keep(Answer("ours", "1", "by hand", 10, [{"fires/s": 1.0, "lost": 0}]), tmp_path)
    alone = {
        "machine": {"cores": 2},
        "tables": [{"title": "T", "about": "It.", "rows": [{"a": 1}]}],
    }
    (tmp_path / "api.json").write_text(json.dumps(alone))

    page = document(tmp_path)

    assert page.count("## Who takes part") == 1
    assert page.index("## Burst") < page.index("## Crash") < page.index("## T\n")
    assert "| contender | fires | rounds | fires/s | lost |" in page
    assert page.endswith("| a |\n| --- |\n| 1 |\n\nOn: cores 2.\n")


def test_ours_stands_beside_the_best_peer_that_lost_nothing_and_it_is_said_where_that_is_ahead(
    tmp_path: Path,
) -> None:
    of = Answers("burst", "Burst", "It.", "fires")
    for who, rate, memory, lost in (
        (House.title, 300.0, 800.0, 0),
        ("Good", 100.0, 200.0, 0),
        ("Hasty", 900.0, 100.0, 5),
    ):
        row = {"fires/s": rate, "peak RSS MiB": memory, "lost": lost}
        of.keep(Answer(who, "1", "by hand", 1_000, [row]), None)

    faster, larger = compared([of])

    assert (faster["best peer"], faster["ratio"]) == ("Good", 3.0)
    assert (larger["best peer"], larger["ratio"]) == ("Good", 0.25)
    assert "* Burst, 1,000 fires, peak RSS MiB: ours 800, Good 200.\n" in comparison([of])


# --- what is kept ---


def test_an_answer_is_written_at_once_and_what_was_there_stays(tmp_path: Path) -> None:
    first, second = (Answers("burst", "Burst", "It.", "fires") for _ in range(2))
    first.keep(Answer("a", "1", "", 10, [{"lost": 0}]), tmp_path)
    second.merge(tmp_path)
    second.keep(Answer("b", "1", "", 10, [], "it took too long"), tmp_path)

    there = Answers.read(json.loads((tmp_path / "burst.json").read_text()))

    assert [each.contender for each in there.found] == ["a", "b"]
    assert there.has("a", 10, rounds=1)
    assert not there.has("a", 10, rounds=2)
    assert not there.has("b", 10, rounds=1)
    assert [each["what it did not do"] for each in participants([there]).rows] == [
        "–",
        "Burst, 10 fires: it took too long",
    ]


def test_answers_to_another_question_are_not_mixed(tmp_path: Path) -> None:
    Answers("precision", "P", "for 300 s", "fires").keep(Answer("a", "1", "", 1), tmp_path)

    with pytest.raises(ValueError, match=r"asked otherwise \(for 300 s\): take another folder"):
        Answers("precision", "P", "for 20 s", "fires").merge(tmp_path)


def test_what_takes_too_long_is_given_up() -> None:
    def forever() -> None:
        with at_most(0.01):
            signal.pause()

    with pytest.raises(TimeoutError, match=r"it took more than 0\.01 s"):
        forever()


def test_a_table_is_written_as_markdown_with_what_it_is_about() -> None:
    text = markdown([asdict(Table("A title", [{"a": 1, "b": "–"}], "What it means."))])

    assert text == "## A title\n\nWhat it means.\n\n| a | b |\n| --- | --- |\n| 1 | – |\n"


# --- rows ---


def test_figures_are_medians_faults_are_added_up_and_what_is_not_known_is_a_dash() -> None:
    rounds = [
        {"fires/s": 10.0, "lost": 1, "KiB per fire": None},
        {"fires/s": 30.0, "lost": 0, "KiB per fire": None},
        {"fires/s": 11.0, "lost": 2, "KiB per fire": None},
    ]

    assert middle(rounds) == {"fires/s": 11.0, "lost": 3, "KiB per fire": "–"}


def test_spread_schedules_are_due_in_every_second_and_others_together() -> None:
    together, spread = (Wanted("every", 20, seconds=20, spread=s) for s in (False, True))

    assert together.instants(100) == [100, 110]
    assert spread.instants(100) == list(range(100, 120))
    assert together.due == spread.due == 40


# --- peers ---


def test_every_peer_has_its_parts_and_its_packages_pinned() -> None:
    for peer in PEERS:
        script = (ROOT / f"bench/peers/on_{peer.name}.py").read_text()
        assert all(f'"{part}": ' in script for part in ("prepare", *peer.parts)), peer.name
        requirements = ROOT / f"bench/peers/{peer.name}.txt"
        if peer.name != "stock":
            lines = requirements.read_text().split()
            assert all("==" in line for line in lines), peer.name


def test_a_peer_whose_program_is_missing_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(Unavailable, match="there is no `redis-server` on PATH"):
        environments.Environment(tmp_path).program("redis-server")


def test_a_peer_whose_packages_cannot_be_had_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers/none.txt").write_text("./nothing-of-this-name.whl\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path / "peers")
    monkeypatch.setattr(environments, "PLACE", tmp_path / "made")

    with pytest.raises(Unavailable, match="its packages could not be installed"):
        environment("none")


class _Cannot:
    """A contender that cannot run here."""

    name = title = set_up = "cannot"
    largest, fastest, patience, rounds, rate = 1, 1, 1.0, 1, 1.0

    def ahead(self, number: int) -> float:
        return 0.0

    def version(self) -> str:
        raise Unavailable("there is no `cannot` on PATH")


def test_a_peer_that_cannot_run_is_named_with_the_reason_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    can = _Can(tmp_path)
    monkeypatch.setattr(side_by_side, "CONTENDERS", (can, _Cannot()))
    monkeypatch.setattr(side_by_side, "QUICK", ("can", "cannot"))
    monkeypatch.setattr("bench.questions.time.sleep", lambda _: None)
    monkeypatch.setattr(
        sys, "argv", ["bench", "trigger", "--quick", "--into", str(tmp_path / "results")]
    )

    assert side_by_side.main() == 0

    printed = capsys.readouterr().out
    assert "| cannot | – | cannot | Trigger now, 10 triggers: not run: there is no" in printed
    assert f"| {can.title} | 10 | 1 | 0 |" in printed
    written = json.loads((tmp_path / "results/trigger.json").read_text())
    assert [each["contender"] for each in written["found"]] == ["can", "cannot"]


def test_a_peer_that_fails_in_a_case_is_asked_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    can = _Can(tmp_path)
    monkeypatch.setattr(side_by_side, "CONTENDERS", (can,))
    monkeypatch.setattr("bench.questions.time.sleep", lambda _: None)
    asked = ["bench", "crash", "trigger", "--rounds", "1", "--triggers", "2"]
    monkeypatch.setattr(sys, "argv", asked)

    assert side_by_side.main() == 0

    printed = capsys.readouterr().out
    assert "| Crash, 1 fires: NotImplementedError: not by itself |" in printed
    assert f"| {can.title} | 2 | 1 | 0 |" in printed


class _Can:
    """A contender whose work is done by this process, with the peers' own two calls."""

    title, name, set_up, largest, fastest, patience = "can", "can", "by itself", 1, 1, 1.0
    rounds, rate = 9, 1.0

    def __init__(self, folder: Path) -> None:
        self._folder, self.instants = folder, [0]

    def ahead(self, number: int) -> float:
        return 0.0

    def version(self) -> str:
        return "1"

    @contextmanager
    def up(self) -> Iterator["_Can"]:
        with start_agent(self._folder) as self.agent:
            yield self

    @contextmanager
    def at_work(self, wanted: Wanted) -> Iterator["_Can"]:
        self._asked = 0
        yield self

    def roots(self) -> list[int]:
        return []

    def trigger(self) -> str:
        self._asked += 1
        _deliver(self.agent, f"trigger-{self._asked}", 0)
        return f"trigger-{self._asked}@0"

    def crash(self) -> None:
        raise NotImplementedError("not by itself")

    def database_bytes(self) -> int | None:
        return None


def _deliver(agent: RunningAgent, schedule: str, nominal: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_AGENT_URL", agent.url)
        patch.setattr(work, "_connections", type("Fresh", (), {})())
        work.deliver_blocking(schedule, nominal)
        work._connections.opened.close()


def test_what_a_peer_sends_is_counted_at_its_instant_and_nothing_else(tmp_path: Path) -> None:
    with start_agent(tmp_path) as agent:
        arrivals = questions.Arrivals(agent)
        for schedule, nominal in (("a", 100), ("b", 100), ("b", 100), ("a", 110)):
            _deliver(agent, schedule, nominal)
        found: list[Input] = questions.due_at_instants(agent, [100])

        assert arrivals.look() == 3
        assert questions.faults(found, 3) == {"lost": 1, "doubled": 1, "early": 0}


def test_a_peer_that_is_not_told_its_instant_takes_the_one_that_was_due_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.peers.work.time.time", lambda: 1_000_026.9)

    assert work.newest(1_000_003, 10) == 1_000_023


def test_ours_is_judged_by_what_it_lost_and_a_peer_by_nothing() -> None:
    def told(who: str, *rows: dict[str, int], reason: str = "") -> Answers:
        found = [Answer(who, "1", "", 1, rows, reason)]
        return Answers("burst", "Burst", "It.", "fires", found=found)

    assert side_by_side._good([told("a peer", {"lost": 1})])
    assert not side_by_side._good([told(House.title, {"lost": 1})])
    assert not side_by_side._good([told(House.title, {"lost": 0}, reason="did not come up")])


def test_a_peer_is_not_asked_for_more_fires_a_second_than_it_makes(tmp_path: Path) -> None:
    def never(*_: object) -> dict[str, object]:
        raise AssertionError("it was asked")

    asked = Question("Precision", "", [100], "schedules", "", never, lambda *_: 0.0)
    place = _Can(tmp_path)
    case = side_by_side.Case(asked, asked.answers("precision"), place, 100, rounds=1)

    assert side_by_side._answer(place, case) == ([], "it does not make 10 fires a second")
    assert case.seconds == 0


def test_of_fires_nobody_is_asked_for_more_than_it_can_take_and_for_none_twice() -> None:
    (stock,) = (peer for peer in PEERS if peer.name == "stock")

    asked = Question("Burst", "", [100, 1_000], "fires", "", lambda *_: {}, lambda *_: 0.0)

    assert asked.sizes(stock) == [stock.largest]
    assert asked.sizes(House()) == [100, 1_000]
