"""The documentation, held to the code: what it names exists, and what exists is named.

Examples are run: every `curl` of README.md and docs/api.md goes to the real application.
"""

import asyncio
import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Request, Response

from bench.__main__ import BENCHES
from schedules_pipeline.api.app import create_app
from schedules_pipeline.api.document import document
from schedules_pipeline.api.schemas import FireRow, ScheduleCreate
from schedules_pipeline.cli import main
from schedules_pipeline.dev.voice import Voice
from schedules_pipeline.domain.fire import FINAL, LEGAL_MOVES, REASONS, FireReason, FireState
from schedules_pipeline.domain.slices import SliceKind
from schedules_pipeline.settings import Settings, variable
from schedules_pipeline.wiring import Wiring
from soak.__main__ import NAMES
from soak.verdict import Offences
from tests.agents import start_agent

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README, OPERATING, API, STATES, GLOSSARY, PROOF = (
    (ROOT / name).read_text()
    for name in (
        "README.md",
        "docs/operating.md",
        "docs/api.md",
        "docs/state-machine.md",
        "docs/glossary.md",
        "docs/proof.md",
    )
)
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

# What reads `"id"` off an answer in the examples.
CUT_ID = """ | cut -d '"' -f 4)"""


def _section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its rank or above."""
    rank = len(heading) - len(heading.lstrip("#"))
    _, found, rest = f"\n{text}".partition(f"\n{heading}\n")
    assert found, heading
    return re.split(rf"^#{{1,{rank}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def _table(text: str) -> list[list[str]]:
    """The cells of the rows of the first table, without its head."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    table = text[text.index(rows[0]) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def _code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _blocks(text: str) -> list[tuple[str, str, bool]]:
    """Every fenced block: its language, its text, and whether it follows right on the one above."""
    found, end = [], 0
    for block in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        found.append((block[1], block[2], not text[end : block.start()].strip()))
        end = block.end()
    return found


# --- settings, commands, make targets ---


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    def said(default: object) -> str:
        if default is None:
            return "unset"
        if isinstance(default, bool):
            return str(default).lower()
        return f"{default:g}" if isinstance(default, float) else str(default)

    fields = Settings.model_fields.items()
    wanted = {variable(name): said(field.default) for name, field in fields}

    rows = _table(_section(OPERATING, "## Settings"))

    assert {_code(name)[0]: default.strip("`") for name, default, _ in rows} == wanted


@EVERY_PAGE
def test_every_variable_that_is_named_is_a_setting(page: Path) -> None:
    named = set(re.findall(r"SCHEDULES_[A-Z_]*[A-Z]", page.read_text()))

    assert named <= {f"SCHEDULES_{name.upper()}" for name in Settings.model_fields}


def _commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Those that do something, by their whole name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", each) for below, each in _commands(command))
        else:
            yield name, command


def test_every_command_and_option_stands_in_the_table() -> None:
    wanted = {("schedules", "--version")}
    for name, command in _commands(main):
        wanted.add((f"schedules {name}", ""))
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                options = [*parameter.opts, *parameter.secondary_opts]
                wanted |= {(f"schedules {name}", option) for option in options}

    found = set()
    for command_cell, options_cell, _ in _table(_section(OPERATING, "## Commands")):
        found |= {(_code(command_cell)[0], option) for option in _code(options_cell) or [""]}

    assert found == wanted


@EVERY_PAGE
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^\.PHONY: (\w+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE))

    assert named <= targets


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = {_code(row[0])[0]: row[1] for row in _table(_section(README, "## Working on it"))}

    assert commands["make test"].startswith("all tests")
    assert "step make --no-print-directory test\n" in (ROOT / ".ci/run").read_text()


def test_every_bench_is_named() -> None:
    rows = _table(_section(README, "## Working on it").split("`dagster dev`")[1])

    described = {_code(where)[0]: what for where, what in rows}

    assert described["bench/"].split(", ") == list(BENCHES)


def test_every_scenario_and_every_offence_of_the_soak_stands_in_its_table() -> None:
    scenarios = [_code(row[0])[0] for row in _table(_section(PROOF, "## What it breaks"))]
    offences = [row[0] for row in _table(_section(PROOF, "## What the verdict weighs"))]

    assert scenarios == NAMES
    assert offences == [each.name.replace("_", " ") for each in fields(Offences)]


def test_the_layout_table_is_the_tree() -> None:
    package = ROOT / "schedules_pipeline"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}

    rows = _table(_section(README, "## Working on it").split("`dagster dev`")[1])

    places = [_code(where)[0] for where, _ in rows]
    assert {place.split("/")[1] for place in places if place.startswith(package.name)} == folders
    assert all((ROOT / place).is_dir() for place in places)


# --- links and pictures ---


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        parts = urlsplit(target)
        if parts.scheme:
            continue
        place = (page.parent / parts.path) if parts.path else page
        assert place.exists(), target
        if parts.fragment:
            assert parts.fragment in _anchors(place.read_text()), target


def test_every_picture_is_shown_and_can_be_taken_anew() -> None:
    script = (ROOT / "docs/screenshots.sh").read_text()
    pictures = sorted((ROOT / "docs/images").iterdir())

    assert [picture.stem for picture in pictures] == sorted(
        re.findall(r"^take (\w+) ", script, re.MULTILINE)
    )
    for picture in pictures:
        assert f"(docs/images/{picture.name})" in README
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 150_000


# --- states, reasons, words ---


def _drawn() -> list[tuple[str, str]]:
    ((_, picture, _),) = [b for b in _blocks(_section(STATES, "## A fire")) if b[0] == "mermaid"]
    arrows: list[tuple[str, str]] = re.findall(r"^ *(\S+) --> (\w+|\[\*\])", picture, re.MULTILINE)
    return arrows


def test_the_picture_of_a_fire_has_exactly_the_legal_moves() -> None:
    moves = [arrow for arrow in _drawn() if "[*]" not in arrow]

    assert sorted(moves) == sorted((before.value, after.value) for before, after in LEGAL_MOVES)


def test_the_picture_of_a_fire_has_its_beginnings_and_ends() -> None:
    assert {after for before, after in _drawn() if before == "[*]"} == {"planned", "skipped"}
    assert {before for before, after in _drawn() if after == "[*]"} == {s.value for s in FINAL}


def test_the_table_of_reasons_is_the_codes() -> None:
    rows = _table(_section(STATES, "### Waiting, and every end but `delivered`, has its reason"))

    assert sorted((_code(state)[0], _code(reason)[0]) for state, reason, _ in rows) == sorted(
        (state.value, reason.value) for state, reasons in REASONS.items() for reason in reasons
    )


def test_the_table_of_slices_has_every_kind() -> None:
    rows = _table(_section(STATES, "## A slice"))

    assert [_code(kind)[0] for kind, _, _ in rows] == [kind.value for kind in SliceKind]


@EVERY_PAGE
def test_every_state_and_reason_that_is_named_exists(page: Path) -> None:
    text = page.read_text()

    for state, reason in re.findall(rf"`({'|'.join(FireState)})/(\w+)`", text):
        assert FireReason(reason) in REASONS[FireState(state)]
    for state in re.findall(r'"state": "([a-z]+)"', text):
        assert FireState(state)


def test_every_column_in_the_glossary_exists() -> None:
    migrations = ROOT / "schedules_pipeline/store/migrations/versions"
    tables = "\n".join(path.read_text() for path in migrations.glob("*.py"))

    for word, _ in _table(GLOSSARY):
        for name in _code(word):
            assert f"\n    {name} " in tables, name


# --- examples ---


def test_the_changelog_has_the_form_that_it_claims() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()

    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[0] == "[Unreleased]"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_what_the_readme_shows_of_make_dev_is_how_it_is_printed() -> None:
    out = io.StringIO()
    Voice(out).headings()

    shown = _blocks(README)[1][1].splitlines()

    assert out.getvalue().rstrip("\n") in shown
    assert f"REST API    http://127.0.0.1:{Settings.model_fields['api_port'].default}" in shown
    assert f"Dagster UI  http://127.0.0.1:{Settings.model_fields['ui_port'].default}" in shown


def test_the_table_of_fields_is_what_a_schedule_can_be_created_with() -> None:
    (table,) = [part for part in API.split("\n\n") if part.startswith("| field |")]

    named = [name for row in _table(table) for name in _code(row[0])]

    assert sorted(named) == sorted(ScheduleCreate.model_fields)
    for names, default, _ in _table(table):
        field = ScheduleCreate.model_fields[_code(names)[0]]
        if _code(default) and "," not in names:
            assert default == f"`{json.dumps(field.default)}`".replace('"', "")


def test_the_fire_that_is_shown_has_every_field() -> None:
    (fire,) = [json.loads(text) for _, text, _ in _blocks(API) if text.startswith('{"id"')]

    assert list(fire) == list(FireRow.model_fields)
    assert FireRow.model_validate(fire).state == FireState.DELIVERED


class Shell:
    """As much of a shell as the examples use: `curl`, and names for ids."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._names: dict[str, str] = {}

    def run(self, block: str) -> Response:
        """Every statement of a block; returns the last answer."""
        answer = None
        for statement in _statements(block):
            answer = self._run(statement)
            assert answer.status_code == 200, (statement, answer.text)
        assert answer is not None
        return answer

    def _run(self, statement: str) -> Response:
        name, assigned, command = statement.partition("=$(")
        if not assigned or not name.isidentifier():
            return self._curl(statement)
        answer = self._curl(command.removesuffix(CUT_ID))
        self._names[name] = answer.text.split('"')[3]
        assert self._names[name] == answer.json()["id"]
        return answer

    def _curl(self, command: str) -> Response:
        program, *words = shlex.split(Template(command).safe_substitute(self._names))
        assert program == "curl"
        method, url, headers, body = None, "", {}, None
        waiting = iter(words)
        for word in waiting:
            match word:
                case "|":
                    break
                case "-s":
                    pass
                case "-X":
                    method = next(waiting)
                case "-H":
                    key, _, value = next(waiting).partition(": ")
                    headers[key] = value
                case "-d":
                    body = next(waiting)
                case _:
                    url = word.removeprefix("localhost:8000")
        assert url.startswith("/"), command
        method = method or ("GET" if body is None else "POST")
        request = Request(method, f"http://localhost{url}", headers=headers, content=body)
        return asyncio.run(self._ask(request))

    async def _ask(self, request: Request) -> Response:
        try:
            async with AsyncClient(transport=ASGITransport(self._app)) as client:
                return await client.send(request)
        finally:
            # Each request has an event loop of its own here.
            if line := self._app.state.agent_line:
                await line.aclose()


def _statements(block: str) -> Iterator[str]:
    """Lines, joined where a quotation spans several."""
    begun = ""
    for line in block.splitlines():
        begun += line
        try:
            shlex.split(begun)
        except ValueError:
            begun += "\n"
            continue
        yield begun
        begun = ""
    assert not begun


@pytest.fixture
def shell(database_url: str, tmp_path: Path) -> Iterator[Shell]:
    """Examples go to the real application, on a database with the two demo agents."""
    wiring = Wiring(Settings(database_url=database_url))
    with start_agent(tmp_path) as agent:
        wiring.seed_demo({f"demo-{kind}": agent.url for kind in ("async", "sync")})
        yield Shell(create_app(wiring))
    wiring.close()


def _assert_shortened(shown: Any, real: Any) -> None:
    """What is shown is in the real answer; what moves with time need only be of its kind."""
    if isinstance(shown, Mapping):
        assert shown.keys() <= real.keys()
        for key, value in shown.items():
            _assert_shortened(value, real[key])
    elif isinstance(shown, list):
        assert len(shown) <= len(real)
        for one, other in zip(shown, real, strict=False):
            _assert_shortened(one, other)
    else:
        assert type(shown) is type(real)


def test_every_example_of_the_api_works_and_answers_like_that(shell: Shell) -> None:
    answer = None
    for kind, text, follows in _blocks(API):
        if kind == "sh":
            answer = shell.run(text)
        elif follows:
            assert answer is not None
            _assert_shortened(json.loads(text), answer.json())
            if "/preview" in str(answer.url):
                assert json.loads(text) == answer.json()


def test_the_commands_of_the_readme_work_and_show_what_is_shown(shell: Shell) -> None:
    (commands,) = [text for kind, text, _ in _blocks(README) if kind == "sh" and "curl" in text]

    fires = shell.run(commands).json()["fires"]

    pattern = re.search(r"grep -E '(.*)'$", commands.strip())
    assert pattern
    printed = json.dumps({"fires": fires}, indent=4).splitlines()
    assert fires
    assert len([line for line in printed if re.search(pattern[1], line)]) == 3 * len(fires)


def test_the_openapi_document_that_is_committed_is_what_the_api_says() -> None:
    """Else: `make openapi`."""
    assert (ROOT / "docs/openapi.json").read_text() == document()


def test_the_table_of_routes_is_the_applications() -> None:
    app = create_app(Wiring(Settings(database_url="postgresql://127.0.0.1:1/none")))
    routes = {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }

    named = set()
    for cell, _ in _table(API):
        method, _, first = _code(cell)[0].partition(" ")
        named |= {(method, path) for path in (first, *_code(cell)[1:])}

    assert named == routes
