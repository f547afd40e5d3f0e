"""The shared vectors: occurrences of cadences as data. Their policy is in the file's header."""

import json
import re
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from schedules_pipeline.domain.cadence import Cadence, CronDayMatch, DstFold, DstGap, validate
from schedules_pipeline.domain.occurrences import occurrences
from schedules_pipeline.errors import InvalidCadence
from tests.domain.time_tools import at

DATA = json.loads((Path(__file__).parent / "data" / "cadence_vectors.json").read_text("utf-8"))
NEVER_COMES = {"E31"}  # 30 February: refused at creation, and without occurrences


def _cadences(vector: dict[str, Any]) -> list[Cadence]:
    """The vector's cadences: more than one when it is the union of several."""
    spec = vector["spec"]
    common: dict[str, Any] = {
        "timezone": vector["tz"],
        "cron_day_match": CronDayMatch.ALL,
        "dst_gap": DstGap.SKIP,
        "dst_fold": DstFold.BOTH,
        "exclude_cron": tuple(spec.get("exclude_cron", ())),
        "start_at": at(spec["start_at"]) if "start_at" in spec else None,
    }
    unknown = spec.keys() - {"cron", "interval_seconds", "intervals", "exclude_cron", "start_at"}
    assert not unknown, f"the test does not know how to read {unknown}"
    intervals = spec.get("intervals", [])
    if "interval_seconds" in spec:
        intervals = [(spec["interval_seconds"], 0)]
    return [
        *(Cadence(cron_expression=text, **common) for text in spec.get("cron", [])),
        *(
            Cadence(interval_seconds=seconds, interval_phase_seconds=phase, **common)
            for seconds, phase in intervals
        ),
    ]


@pytest.mark.parametrize("vector", DATA["vectors"], ids=lambda vector: vector["id"])
def test_a_vector_gives_exactly_its_occurrences(vector: dict[str, Any]) -> None:
    cadences = _cadences(vector)
    # One more than expected is asked for where the list is said to be complete.
    count = len(vector["expected"]) + bool(vector.get("exhausts"))
    united: set[datetime] = set()
    for cadence in cadences:
        if vector["id"] not in NEVER_COMES:
            validate(cadence)
        united.update(islice(occurrences(cadence, at(vector["from"])), count))
    found = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in sorted(united)[:count]]
    assert found == vector["expected"]


def test_the_vector_that_never_comes_is_refused() -> None:
    [vector] = [vector for vector in DATA["vectors"] if vector["id"] in NEVER_COMES]
    with pytest.raises(InvalidCadence, match=r"cron_expression: '0 0 30 2 \*' names a time that"):
        validate(_cadences(vector)[0])


def _invalid(kind: str) -> list[str]:
    return [entry["input"] for entry in DATA["invalid"] if entry["kind"] == kind]


@pytest.mark.parametrize("text", _invalid("cron"))
def test_an_invalid_cron_expression_is_refused(text: str) -> None:
    with pytest.raises(InvalidCadence, match="cron_expression: "):
        validate(Cadence(cron_expression=text))


@pytest.mark.parametrize("text", _invalid("interval"))
def test_an_invalid_interval_is_refused(text: str) -> None:
    hours = [int(number) for number in re.findall(r"-?\d+", text)]
    phase = hours[1] * 3_600 if len(hours) > 1 else 0
    with pytest.raises(InvalidCadence, match=r"interval_(phase_)?seconds: "):
        validate(Cadence(interval_seconds=hours[0] * 3_600, interval_phase_seconds=phase))
    with pytest.raises(InvalidCadence, match="cron_expression: "):
        validate(Cadence(cron_expression="@every " + text.replace(" phase ", "/")))


@pytest.mark.parametrize("text", _invalid("spec"))
def test_a_contradicting_zone_is_refused(text: str) -> None:
    expression, zone = text.split(" + timezone ")
    with pytest.raises(InvalidCadence, match="contradicts 'CRON_TZ=America/New_York'"):
        validate(Cadence(cron_expression=expression, timezone=zone))
