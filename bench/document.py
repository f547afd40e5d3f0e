"""docs/performance.md, made of what the benches wrote to bench/results/: no figure is typed in.

python -m bench document > docs/performance.md
"""

import json
from pathlib import Path
from typing import Any

from bench.report import markdown, one_line

RESULTS = Path(__file__).parent / "results"
ORDER = ("burst", "precision", "trigger", "scale", "steady", "crash")
"""The files that are known, in this order; others follow by name."""
PARTICIPANTS = "Who takes part"

HEAD = """# Performance

Measured, not promised: each section is one run of a bench, ours and its peers after one another on
the same machine, with the same agent and the same work. This page is what
`python -m bench document` makes of `bench/results/`; how to measure anew stands in
[operating](operating.md#measuring-it-yourself).
"""

NOTHING = """
Nothing is recorded yet: `make bench ARGS="side-by-side --into bench/results"`.
"""


def main() -> None:
    """Print the page."""
    print(document(RESULTS), end="")


def document(results: Path) -> str:
    """The page that these files make."""
    files = sorted(results.glob("*.json"), key=lambda file: (_place(file.stem), file.stem))
    said: set[str] = set()
    sections = [_section(json.loads(file.read_text()), said) for file in files]
    return HEAD + ("".join(sections) or NOTHING)


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _section(found: dict[str, Any], said: set[str]) -> str:
    """Tables, below the machine; who took part is not said again while it is the same."""
    tables = []
    for table in found["tables"]:
        text = json.dumps(table)
        if table["title"] != PARTICIPANTS or text not in said:
            tables.append(table)
        said.add(text)
    return f"\n{markdown(tables)}\nOn: {one_line(found['machine'])}.\n"
