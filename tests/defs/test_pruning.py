"""Old partition keys go, from Dagster's own table in a real PostgreSQL."""

import tempfile
from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import text

from schedules_pipeline.defs.partitions import PARTITION_SET
from schedules_pipeline.defs.pruning import Pruner
from schedules_pipeline.settings import with_driver
from schedules_pipeline.store import dagster_partitions


@pytest.fixture
def instance(empty_database_url: str) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage, as `dagster.yaml` has it."""
    url = with_driver(empty_database_url, "psycopg2")
    overrides = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
    with (
        tempfile.TemporaryDirectory() as home,
        dg.DagsterInstance.local_temp(home, overrides=overrides) as found,
    ):
        yield found


def keys(instance: dg.DagsterInstance) -> list[str]:
    return sorted(instance.get_dynamic_partitions(PARTITION_SET))


def age(instance: dg.DagsterInstance, key: str, days: float) -> None:
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(
            text("""
                update dynamic_partitions
                set create_timestamp = create_timestamp - make_interval(secs => :seconds)
                where partition = :key
            """),
            {"seconds": days * 86_400, "key": key},
        )


def test_keys_older_than_fourteen_days_go_but_those_of_unsettled_slices_and_other_sets_stay(
    instance: dg.DagsterInstance,
) -> None:
    instance.add_dynamic_partitions(PARTITION_SET, ["old", "owing", "young"])
    instance.add_dynamic_partitions("another", ["old"])
    for key, days in (("old", 14.1), ("owing", 14.1), ("young", 13.9)):
        age(instance, key, days)
    pruner = Pruner(lambda: {"owing"})
    assert pruner.prune(instance) == 1
    assert keys(instance) == ["owing", "young"]
    assert list(instance.get_dynamic_partitions("another")) == ["old"]
    # A redrive of a pruned slice emits it again, and with it comes its key.
    instance.add_dynamic_partitions(PARTITION_SET, ["old"])
    assert keys(instance) == ["old", "owing", "young"]


def test_of_too_many_the_newest_stay(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dagster_partitions, "KEPT_KEYS", 2)
    for key in ("first", "second", "third", "fourth"):
        instance.add_dynamic_partitions(PARTITION_SET, [key])
    assert Pruner(lambda: {"first"}).prune(instance) == 1
    assert keys(instance) == ["first", "fourth", "third"]


def test_it_looks_once_an_hour(instance: dg.DagsterInstance) -> None:
    pruner = Pruner(lambda: set())
    assert pruner.prune(instance) == 0
    instance.add_dynamic_partitions(PARTITION_SET, ["old"])
    age(instance, "old", 15)
    assert pruner.prune(instance) == 0
    assert keys(instance) == ["old"]


def test_a_storage_without_that_table_is_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITION_SET, ["key"])
        Pruner(lambda: set()).prune(instance)
        assert keys(instance) == ["key"]
