"""The peers' environments: made when first asked for, in `.bench/`."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".bench"
REQUIREMENTS = ROOT / "bench" / "peers"
INSTALL_SECONDS = 600


class Unavailable(Exception):
    """A peer cannot run here; the text says why, for the report."""


@dataclass(frozen=True)
class Environment:
    """Where a peer's interpreter and programs are."""

    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def version(self, package: str) -> str:
        """Of what is installed in it."""
        places = [str(place) for place in self.folder.glob("lib/python*/site-packages")]
        return next(each.version for each in distributions(name=package, path=places))

    def program(self, name: str) -> str:
        """A program that one of its packages brings, else the one on PATH.

        Errors: Unavailable.
        """
        brought = [
            self.folder / "bin" / name,
            *self.folder.glob(f"lib/*/site-packages/*/bin/{name}"),
        ]
        found = next((str(each) for each in brought if each.is_file()), None) or shutil.which(name)
        if found is None:
            raise Unavailable(f"there is no `{name}` on PATH")
        return found


def environment(name: str) -> Environment:
    """The environment of the peer of this name, from `bench/peers/<name>.txt`; without that, ours.

    Errors: Unavailable when it cannot be made.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    if not requirements.is_file():
        return Environment(Path(sys.prefix))
    folder, wanted = PLACE / name, requirements.read_text()
    made = folder / "made-from.txt"
    if not made.is_file() or made.read_text() != wanted:
        _install(folder, name)
        made.write_text(wanted)
    return Environment(folder)


def _install(folder: Path, name: str) -> None:
    own = ROOT / ".uv" / "bin" / "uv"
    uv = str(own) if own.is_file() else shutil.which("uv")
    if uv is None:
        raise Unavailable("there is no `uv`: run `make env`")
    shutil.rmtree(folder, ignore_errors=True)
    _uv(uv, "venv", "--python", sys.executable, str(folder))
    requirements = str(REQUIREMENTS / f"{name}.txt")
    _uv(uv, "pip", "install", "--python", str(folder / "bin" / "python"), "-r", requirements)


def _uv(program: str, *arguments: str) -> None:
    try:
        subprocess.run(
            [program, "--quiet", *arguments],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
            env=os.environ | {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"},
        )
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"its packages could not be installed: {error.stdout[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"its packages took more than {INSTALL_SECONDS} s") from error
