"""What every bench prints: the machine, the versions, tables; and the same as JSON."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from schedules_pipeline.dev.postgres import binaries

PACKAGES = ("schedules-pipeline", "dagster", "sqlalchemy", "psycopg", "httpx", "aiohttp")


def machine() -> dict[str, Any]:
    """Cores, memory, kernel, versions, and how busy the machine was when asked."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(gigabytes, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load of 1, 5, 15 min": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "postgresql": _postgres_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def lateness(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest, in milliseconds; of nothing they are not numbers, and no budget."""
    ordered = sorted(seconds) or [float("nan")]
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p99_ms": round(p99 * 1000, 1),
        "max_ms": round(ordered[-1] * 1000, 1),
    }


@dataclass(frozen=True)
class Table:
    """Rows that name the same columns, and what they mean."""

    title: str
    rows: Sequence[dict[str, Any]]
    about: str


def publish(title: str, rows: Sequence[dict[str, Any]], about: str) -> None:
    """One table; see `publish_all`."""
    publish_all(Table(title, rows, about))


def publish_all(*tables: Table) -> None:
    """Print the machine and Markdown tables, and the same as JSON to the file of `--json FILE`."""
    found = content(tables)
    print(f"\n{one_line(found['machine'])}\n\n{markdown(found['tables'])}")
    if "--json" in sys.argv:
        Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(found, indent=1) + "\n")


def content(tables: Sequence[Table]) -> dict[str, Any]:
    """What is written as JSON."""
    return {"machine": machine(), "tables": [asdict(table) for table in tables]}


def one_line(described: Mapping[str, Any]) -> str:
    """The machine, for people."""
    return ", ".join(f"{name} {value}" for name, value in described.items())


def markdown(tables: Sequence[Mapping[str, Any]], heading: str = "##") -> str:
    """Tables as they stand in JSON: title, what it is about, rows."""
    return "\n".join(_markdown(table, heading) for table in tables)


def _markdown(table: Mapping[str, Any], heading: str) -> str:
    names = list(table["rows"][0])
    rows = [names, ["---"] * len(names)]
    rows += [[str(row[name]) for name in names] for row in table["rows"]]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{heading} {table['title']}\n\n{table['about']}\n\n{lines}\n"


def _postgres_version() -> str:
    """Of the embedded server."""
    command = [str(binaries() / "postgres"), "--version"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return said.split()[-1]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
