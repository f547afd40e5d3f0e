"""What the run parent imports ahead, and how it knows that this is no longer what stands there."""

import importlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from schedules_pipeline.errors import StartupError
from schedules_pipeline.launcher.identity import HAS_PROC, PROC

DEFINITIONS = "schedules_pipeline.definitions"

# What a run imports only when it comes to it. A name that an upgrade takes away fails loudly.
LATE_IMPORTS = (
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.launcher.default_run_launcher",
    "dagster._core.run_coordinator",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.system_config.composite_descent",
    "dagster_postgres",
    "psycopg2.extras",
    "schedules_pipeline.delivery.fire_provider",
    "schedules_pipeline.delivery.local",
    "schedules_pipeline.launcher.working",
    "upath.implementations.local",
    "watchdog.observers.polling",
)


def import_everything(listener: int) -> None:
    """Import what a run needs, and build its definitions.

    `listener`: the file descriptor that is open on purpose. Errors: StartupError when anything else
    is left behind that a fork must not copy.
    """
    for module in (DEFINITIONS, *LATE_IMPORTS):
        importlib.import_module(module)
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    # Kept by the definitions themselves; a run asks for the same.
    ReconstructableRepository.for_module(DEFINITIONS, "defs").get_definition().get_all_jobs()
    refuse_to_fork_badly(listener)


def refuse_to_fork_badly(*but: int) -> None:
    """One thread, no socket but these: a fork would copy neither in working order."""
    if not HAS_PROC:
        return
    threads = len(list((PROC / "self/task").iterdir()))
    if threads > 1:
        raise StartupError(f"{threads} threads run after the imports: a fork would lose them.")
    if sockets := [
        fd for fd, link in _open_files() if link.startswith("socket:") and fd not in but
    ]:
        raise StartupError(f"{len(sockets)} sockets are open after the imports: runs would share.")


def _open_files() -> list[tuple[int, str]]:
    found = []
    for entry in (PROC / "self/fd").iterdir():
        with suppress(OSError):
            found.append((int(entry.name), str(entry.readlink())))
    return found


@dataclass(frozen=True)
class Sources:
    """The files of a package's modules, each with the instant of its last change."""

    changed_at: Mapping[Path, int]

    @classmethod
    def of(cls, package: str) -> Self:
        """Of what is imported of it."""
        files = [
            Path(module.__file__)
            for name, module in list(sys.modules.items())
            if name.split(".")[0] == package and module.__file__
        ]
        return cls({file: at for file in files if (at := _changed_at(file)) is not None})

    def have_changed(self) -> bool:
        """Whether any is another by now, or gone."""
        return any(_changed_at(file) != at for file, at in self.changed_at.items())


def _changed_at(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None
