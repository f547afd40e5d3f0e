"""What every bench prints: the machine, the versions, a table; and the same as JSON."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

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
        "load_1min": round(os.getloadavg()[0], 2),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def lateness(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest, in milliseconds."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p99_ms": round(p99 * 1000, 1),
        "max_ms": round(ordered[-1] * 1000, 1),
    }


def publish(title: str, rows: Sequence[dict[str, Any]], about: str) -> None:
    """Print a Markdown table, and the same as JSON to the file named by `--json FILE`."""
    described = machine()
    print(f"\n## {title}\n\n{about}\n")
    print(", ".join(f"{name} {value}" for name, value in described.items()) + "\n")
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in names) + " |")
    if "--json" in sys.argv:
        target = Path(sys.argv[sys.argv.index("--json") + 1])
        target.write_text(
            json.dumps({"title": title, "machine": described, "rows": rows}, indent=1)
        )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
