"""What a run of the fuzzer has to show for itself."""

import json

from fuzz.running import Outcome
from fuzz.serving import Served


def findings(outcome: Outcome, server: Served, *, at_least: int, deep: bool) -> list[str]:
    """Everything that must not be; empty when all is well. Ends the server.

    `at_least`: fewer requests than this prove nothing. `deep`: each operation must have
    worked, too.
    """
    found = []
    if outcome.exit_code:
        found.append(f"schemathesis ended with {outcome.exit_code}:\n{outcome.said}")
    if outcome.cases < at_least:
        found.append(f"only {outcome.cases} requests were answered, of {at_least}")
    broken = {status for _, status in outcome.answers if status >= 500}
    if broken:
        found.append(f"answered with {sorted(broken)}: {outcome.operations_answered(*broken)}")
    if deep:
        found += [f"never answered with 200: {each}" for each in outcome.barren()]
    code = server.stop()
    if code:
        found.append(f"the server ended with {code}")
    found += [f"the server's log says: {line}" for line in _errors(server)]
    return found


def _errors(server: Served) -> list[str]:
    """Lines of its log that are no JSON, or errors."""
    found = []
    for line in server.log.read_text().splitlines():
        try:
            level = json.loads(line)["level"]
        except (ValueError, TypeError, KeyError):
            level = "error"
        if level in ("error", "critical"):
            found.append(line)
    return found
