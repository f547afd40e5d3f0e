"""Zones come from the tzdata package, and no change of their clocks is overlooked."""

import zoneinfo
from datetime import timedelta
from importlib import metadata, resources
from pathlib import Path

import pytest

from schedules_pipeline.domain.zones import (
    HORIZON_END,
    HORIZON_START,
    TZDATA_VERSION,
    instant_from,
    instant_of,
    load_zone,
    moment_of,
    zone_names,
)
from schedules_pipeline.errors import InvalidCadence
from tests.domain.time_tools import THOROUGH, ZONES, at


def test_the_version_in_use_is_that_of_the_tzdata_package() -> None:
    assert metadata.version("tzdata") == TZDATA_VERSION


def test_zones_do_not_come_from_the_system(tmp_path: Path) -> None:
    tokyo = resources.files("tzdata") / "zoneinfo" / "Asia" / "Tokyo"
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes(tokyo.read_bytes())
    zoneinfo.reset_tzpath(to=[tmp_path])
    load_zone.cache_clear()
    try:
        berlin = load_zone("Europe/Berlin")
    finally:
        zoneinfo.reset_tzpath()
    assert berlin.at(instant_of(at("2026-07-01T00:00Z"))).offset == 7_200


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Berlin", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("Mars/Olympus_Mons", "use a name such as 'Europe/Berlin'."),
        ("../../../etc/passwd", "use a name such as 'Europe/Berlin'."),
        ("/etc/localtime", "use a name such as 'Europe/Berlin'."),
        ("", "use a name such as 'Europe/Berlin'."),
        ("Europe", "use a name such as 'Europe/Berlin'."),
        ("Europe/Berlin\0", "did you mean 'Europe/Berlin'?"),
    ],
)
def test_a_zone_that_does_not_exist_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(InvalidCadence) as refused:
        load_zone(name)
    assert str(refused.value) == (
        f"timezone: {name!r} is not an IANA time zone (tzdata {TZDATA_VERSION}); {hint}"
    )


@pytest.mark.parametrize("name", sorted(zone_names()) if THOROUGH else ZONES)
def test_a_zones_stretches_agree_with_its_rules_on_every_day(name: str) -> None:
    zone = load_zone(name)
    until = HORIZON_END if THOROUGH else HORIZON_START + 40 * 366 * 86_400
    for instant in range(HORIZON_START, until, 86_400):
        moment = moment_of(instant).astimezone(zone.rules)
        assert moment.utcoffset() == timedelta(seconds=zone.at(instant).offset), moment


@pytest.mark.parametrize("name", ZONES)
def test_a_zones_stretches_meet_exactly_where_its_clocks_change(name: str) -> None:
    zone = load_zone(name)
    assert zone.stretches[0].start == HORIZON_START
    assert zone.stretches[-1].end == HORIZON_END
    for left, right in zip(zone.stretches, zone.stretches[1:], strict=False):
        assert left.end == right.start
        assert left.offset == right.offset_before != right.offset == left.offset_after
        last_before = moment_of(left.end - 1).astimezone(zone.rules)
        assert last_before.utcoffset() == timedelta(seconds=left.offset)
        first_after = moment_of(right.start).astimezone(zone.rules)
        assert first_after.utcoffset() == timedelta(seconds=right.offset)


def test_instants_round_down_or_up_to_whole_seconds() -> None:
    assert moment_of(instant_of(at("2026-01-01T00:00:00.999999Z"))) == at("2026-01-01T00:00:00Z")
    assert moment_of(instant_from(at("2026-01-01T00:00:00.000001Z"))) == at("2026-01-01T00:00:01Z")
    assert moment_of(instant_from(at("2026-01-01T00:00:00Z"))) == at("2026-01-01T00:00:00Z")
    assert instant_of(at("1969-12-31T23:59:59.5Z")) == -1
