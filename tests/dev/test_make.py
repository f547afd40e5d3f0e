"""The Makefile and what CI runs."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path} if path else None,
    )


def test_make_alone_prints_every_target_with_one_line() -> None:
    targets = re.findall(r"^\.PHONY: (\w+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    lines = _make().stdout.splitlines()

    assert [line.split()[1] for line in lines] == targets
    assert all(len(line.split(maxsplit=2)) == 3 for line in lines)


def test_without_a_suitable_python_make_says_which_one_it_wants(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
        (tools / name).symlink_to(found.stdout.strip())
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)

    answer = _make("-f", str(ROOT / "Makefile"), "-C", str(tmp_path), ".uv/bin/uv", path=str(tools))

    assert answer.returncode == 2
    assert answer.stderr.splitlines()[0] == (
        "Python 3.11, 3.12 or 3.13 is needed; none was found in PATH."
    )


def test_ci_runs_what_the_readme_says() -> None:
    steps = re.findall(r"^step make --no-print-directory (\w+)$", (ROOT / ".ci/run").read_text(), 8)

    assert steps == ["env", "lint", "types", "layers", "test"]


def test_no_file_of_the_house_names_a_package_registry() -> None:
    for name in ("Makefile", ".ci/run", "requirements.lock", "pyproject.toml"):
        assert not re.search(r"https?://|index-url|find-links", (ROOT / name).read_text()), name
