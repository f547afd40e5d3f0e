"""On what the scenarios are played: the house as it is, or with a part of it in their hands."""

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random

from soak.stage import OwnDatabase, Stage, environment, stage

DISK_MEGABYTES = 500
FEW_CONNECTIONS = 60
JUMP_FILE = "time-of-day"
BROKEN_FLAG = "broken"

# Where a file of that name exists, the module does not load: what a bad deploy looks like.
_BAD_DEPLOY = """\
import pathlib
import sys


class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "schedules_pipeline.definitions" and pathlib.Path({flag!r}).exists():
            raise ImportError("a bad deploy")


sys.meta_path.insert(0, Broken())
"""


class CannotRun(Exception):
    """A scenario needs something that this machine does not have; the text says what."""


def own_house(folder: Path, chance: Random) -> AbstractContextManager[Stage]:
    """As `make dev` has it."""
    return stage(folder, chance)


def own_database(folder: Path, chance: Random) -> AbstractContextManager[Stage]:
    """PostgreSQL is the scenario's, so that nobody starts it again too early."""
    return stage(folder, chance, database=_database(folder))


def few_connections(folder: Path, chance: Random) -> AbstractContextManager[Stage]:
    """PostgreSQL allows few connections."""
    options = {"max_connections": str(FEW_CONNECTIONS)}
    return stage(folder, chance, database=_database(folder, options))


@contextmanager
def small_disk(folder: Path, chance: Random) -> Iterator[Stage]:
    """PostgreSQL's data is on a disk of its own (a tmpfs), which can be filled."""
    disk = folder / "pg"
    disk.mkdir(mode=0o755)
    with _mounted(disk), stage(folder, chance, database=_database(folder)) as made:
        yield made


def jumping_host_clock(folder: Path, chance: Random) -> AbstractContextManager[Stage]:
    """The whole house has its own time of day; PostgreSQL and the agents have the host's."""
    variables = _own_time_of_day(folder)
    return stage(folder, chance, database=_database(folder), variables=variables)


@contextmanager
def an_hour_can_pass(folder: Path, chance: Random) -> Iterator[Stage]:
    """Everybody has the stage's time of day: PostgreSQL and the agents too."""
    with (
        environment(_own_time_of_day(folder)),
        stage(folder, chance, database=_database(folder)) as made,
    ):
        yield made


def _database(folder: Path, options: Mapping[str, str] | None = None) -> Callable[[], OwnDatabase]:
    return lambda: OwnDatabase(folder / "pg" / "data", log=folder / "pg.log", options=options)


@contextmanager
def breakable_code(folder: Path, chance: Random) -> Iterator[Stage]:
    """The code location can be made not to load."""
    site = folder / "site"
    site.mkdir()
    text = _BAD_DEPLOY.format(flag=str(folder / BROKEN_FLAG))
    (site / "sitecustomize.py").write_text(text)
    with stage(folder, chance, variables={"PYTHONPATH": str(site)}) as made:
        yield made


@contextmanager
def _mounted(disk: Path) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={DISK_MEGABYTES}m".encode()
    if libc.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, size) != 0:
        raise CannotRun(f"a small disk cannot be mounted: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        libc.umount2(os.fsencode(disk), 2)  # MNT_DETACH: whoever still holds a file loses nothing


def _own_time_of_day(folder: Path) -> Mapping[str, str]:
    """What a process must find in its environment to live by the folder's time of day."""
    library, source = folder / "time_of_day.so", Path(__file__).with_name("time_of_day.c")
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotRun("no C compiler (cc) for soak/time_of_day.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    set_time_of_day(folder, 0)
    return {"LD_PRELOAD": str(library), "SOAK_TIME_OF_DAY": str(folder / JUMP_FILE)}


def set_time_of_day(folder: Path, seconds: int) -> None:
    """So many seconds off the host's; in place, for processes have the file mapped."""
    with (folder / JUMP_FILE).open("r+b" if (folder / JUMP_FILE).exists() else "wb") as file:
        file.write(struct.pack("=q", seconds))
