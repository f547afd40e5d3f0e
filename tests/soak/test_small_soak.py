"""The soak, small enough for the gate: half a minute of kills on the real house."""

import tempfile
from pathlib import Path
from random import Random

import pytest

from soak.breaking import KILLS, kill_at_random
from soak.evidence import gather
from soak.stages import own_house
from soak.verdict import judge

SECONDS = 25.0


@pytest.mark.e2e
@pytest.mark.timeout(420)
def test_half_a_minute_of_random_kills_loses_nothing_and_doubles_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="schedules-soak-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        with own_house(folder, Random(11)) as stage:
            stage.populate(20)
            stage.warm_up()
            kill_at_random(stage, SECONDS)
            until = stage.now()
            assert stage.drain(until, timeout=240)
            verdict = judge(gather(stage, until, late_limit_seconds=None))
    assert stage.faults.total() >= 3
    assert set(stage.faults) <= set(KILLS)
    assert verdict.kept, verdict
    assert verdict.delivered > 0.9 * verdict.occurrences, verdict
