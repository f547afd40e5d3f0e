"""What the processes that stay for days do not import: memory that each would hold (0012)."""

import os
import subprocess
import sys

import pytest

DATABASES = {
    "SCHEDULES_DATABASE_URL": "postgresql:///schedules",
    "SCHEDULES_DAGSTER_URL": "postgresql:///schedules_dagster",
}


@pytest.mark.parametrize(
    ("process", "unused"),
    [
        # Dagster brings Alembic.
        ("import schedules_pipeline.definitions", {"aiohttp", "httpx"}),
        (
            "from schedules_pipeline.api.app import create_app\n"
            "from schedules_pipeline.settings import Settings\n"
            "from schedules_pipeline.wiring import Wiring\n"
            "create_app(Wiring(Settings.load()))",
            {"aiohttp", "httpx", "alembic", "dagster"},
        ),
        (
            "import schedules_pipeline.dev.supervisor, schedules_pipeline.dev.books",
            {"aiohttp", "httpx", "sqlalchemy", "dagster", "fastapi"},
        ),
    ],
    ids=["code server", "API", "supervisor"],
)
def test_a_process_that_stays_imports_only_what_it_uses(process: str, unused: set[str]) -> None:
    assert unused.isdisjoint(_imported_by(process))


def test_the_run_parent_has_what_a_fork_would_else_import_for_itself() -> None:
    needed = {"aiohttp", "schedules_pipeline.launcher.working"}
    program = (
        "from schedules_pipeline.launcher.importing import import_everything\nimport_everything(-1)"
    )
    assert needed <= _imported_by(program)


def _imported_by(program: str) -> set[str]:
    """The modules that a process of its own has after it."""
    said = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, **DATABASES},
    ).stdout
    return set(said.split())
