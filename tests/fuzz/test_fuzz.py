"""The fuzzer, with a budget that the gate can bear; `make fuzz` is the long one."""

from collections import Counter
from pathlib import Path

import pytest

from fuzz.judging import findings
from fuzz.running import Outcome, attack
from fuzz.seeds import sow
from fuzz.serving import served

SEED = 20_261_125


@pytest.mark.timeout(600)
def test_thousands_of_requests_find_nothing(own_database_url: str, tmp_path: Path) -> None:
    with served(own_database_url, tmp_path) as server:
        seeds = sow(server.url, own_database_url)
        outcome = attack(server.url, seeds, tmp_path, examples=1, seed=SEED)
        found = findings(outcome, server, at_least=2_000, deep=False)
    assert not found, "\n".join(found)
    assert len(outcome.operations_answered(200)) > 30, outcome.summary()


def test_what_is_amiss_is_found(own_database_url: str, tmp_path: Path) -> None:
    answers = Counter({("GET /a", 200): 1, ("GET /b", 404): 1, ("GET /c", 500): 1})
    with served(own_database_url, tmp_path) as server:
        with server.log.open("a") as log:
            log.write('Traceback\n{"level": "error"}\n{"level": "warning"}\n')
        found = findings(Outcome(1, "it said why", answers), server, at_least=4, deep=True)
    assert found == [
        "schemathesis ended with 1:\nit said why",
        "only 3 requests were answered, of 4",
        "answered with [500]: {'GET /c'}",
        "never answered with 200: GET /b",
        "never answered with 200: GET /c",
        "the server's log says: Traceback",
        'the server\'s log says: {"level": "error"}',
    ]
