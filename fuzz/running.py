"""Schemathesis against the API: how it is set up, and what is said of the run afterwards."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fuzz.seeds import Seeds

HOOKS = Path(__file__).with_name("hooks.py")
REAL = 0.7
"""How often a parameter names something that exists."""

# Which parameter takes which seeds.
PLACES = {
    "path.agent_id": "agent_id",
    "query.agent_id": "agent_id",
    "path.agent_name": "agent_name",
    "path.schedule_id": "schedule_id",
    "query.schedule_id": "schedule_id",
    "path.name": "name",
    "path.fire_id": "fire_id",
    "path.backfill_id": "backfill_id",
    "path.task_id": "task_id",
    "path.task_name": "task_name",
    "query.task_id": "task_id",
    "path.event_id": "event_id",
    "path.message_id": "message_id",
    "header.If-Match": "etag",
}

SETTINGS = """
hooks = {hooks}
continue-on-failure = true
request-timeout = 20.0
warnings = false

[generation]
max-examples = {examples}
database = "none"
no-shrink = true

[checks]
# Which refusals a schema cannot foresee is judged by a check of our own, by their texts.
positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "412", "422"]
negative_data_rejection.expected-statuses = ["4xx"]
"""


@dataclass(frozen=True)
class Outcome:
    """What a run found."""

    exit_code: int
    said: str
    answers: Counter[tuple[str, int]]

    @property
    def cases(self) -> int:
        """Requests that were answered."""
        return self.answers.total()

    def summary(self) -> str:
        """How many requests, and how they were answered."""
        statuses: Counter[int] = Counter()
        for (_, status), times in self.answers.items():
            statuses[status] += times
        told = ", ".join(f"{times} x {status}" for status, times in sorted(statuses.items()))
        return f"{self.cases} requests: {told}"

    def barren(self) -> list[str]:
        """Operations of the document that never worked: of them only the refusals were seen."""
        tried = {operation for operation, _ in self.answers}
        worked = self.operations_answered(200)
        return sorted(each for each in tried - worked if not each.startswith("OPTIONS "))

    def operations_answered(self, *statuses: int) -> set[str]:
        """Which operations gave one of these statuses at least once."""
        return {operation for operation, status in self.answers if status in statuses}


def attack(url: str, seeds: Seeds, folder: Path, *, examples: int, seed: int | None) -> Outcome:
    """Every operation of the document, in all phases, with all checks. `folder` is working space.

    `examples`: for each operation and mode, beyond the boundary values.
    """
    settings = folder / "schemathesis.toml"
    settings.write_text(_settings(seeds, examples))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings)),
        *("run", f"{url}/openapi.json", "--no-color"),
        *(("--seed", str(seed)) if seed is not None else ()),
    ]
    ran = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(ran.returncode, ran.stdout, _answers(folder))


def _settings(seeds: Seeds, examples: int) -> str:
    """As TOML; a JSON string is one of TOML's too."""
    lines = [SETTINGS.format(hooks=json.dumps(str(HOOKS)), examples=examples)]
    for name, values in seeds.items():
        lines.append(f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n")
    lines.append("[parameters]")
    for place, name in PLACES.items():
        lines.append(f'"{place}" = {{ dictionary = "{name}", probability = {REAL} }}')
    return "\n".join(lines) + "\n"


def _answers(folder: Path) -> Counter[tuple[str, int]]:
    lines = (folder / "answers.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return Counter((row["operation"], row["status"]) for row in rows)
