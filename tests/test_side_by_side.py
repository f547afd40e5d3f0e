"""What stands side by side, and the page that is made of it."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from bench import environments, questions, side_by_side
from bench.contenders import Wanted
from bench.document import RESULTS, document
from bench.environments import Unavailable, environment
from bench.house import House
from bench.instants import Input
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


def test_the_page_has_a_section_per_file_in_order_and_says_who_took_part_once(
    tmp_path: Path,
) -> None:
    who = {"title": "Who takes part", "about": "All.", "rows": [{"contender": "ours"}]}
    for name, figure in (("crash", 2), ("burst", 1)):
        tables = [who, {"title": name, "about": "It.", "rows": [{"fires/s": figure}]}]
        content = {"machine": {"cores": 2, "run": name}, "tables": tables}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    page = document(tmp_path)

    assert page.count("## Who takes part") == 1
    assert page.index("## burst") < page.index("## crash")
    assert "| fires/s |\n| --- |\n| 1 |\n\nOn: cores 2, run burst.\n" in page


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

    assert side_by_side.middle(rounds) == {"fires/s": 11.0, "lost": 3, "KiB per fire": "–"}


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
    largest, fastest, patience = 1, 1, 1.0

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
    assert "| cannot | – | cannot | not run: there is no `cannot` on PATH |" in printed
    assert f"| {can.title} | 10 | 0 |" in printed
    written = json.loads((tmp_path / "results/trigger.json").read_text())
    assert [table["title"] for table in written["tables"]] == ["Who takes part", "Trigger now"]


class _Can:
    """A contender whose work is done by this process, with the peers' own two calls."""

    title, name, set_up, largest, fastest, patience = "can", "can", "by itself", 1, 1, 1.0

    def __init__(self, folder: Path) -> None:
        self._folder, self.instants = folder, list[int]()

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
        raise NotImplementedError

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

        assert arrivals.look() == 4
        assert questions.faults(found, 3) == {"lost": 1, "doubled": 1, "early": 0}


def test_a_peer_that_is_not_told_its_instant_takes_the_one_that_was_due_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.peers.work.time.time", lambda: 1_000_026.9)

    assert work.newest(1_000_003, 10) == 1_000_023


def test_ours_is_judged_by_what_it_lost_and_a_peer_by_nothing() -> None:
    lost = {"contender": House.title, "lost": 1}
    peers = {"contender": "a peer", "lost": 1}

    assert side_by_side._good({"burst": [(1, peers)]}, {})
    assert not side_by_side._good({"burst": [(1, lost)]}, {})
    assert not side_by_side._good({}, {House.name: ["burst 1: did not come up"]})


def test_a_peer_is_not_asked_for_more_fires_a_second_than_it_makes(tmp_path: Path) -> None:
    def never(*_: object) -> dict[str, object]:
        raise AssertionError("it was asked")

    asked = side_by_side.Question("Precision", "", [100], "schedules", never)

    with _Can(tmp_path).up() as place, pytest.raises(Unavailable, match="not make 10 fires a sec"):
        side_by_side._case(place, place, asked, 100, rounds=1)
