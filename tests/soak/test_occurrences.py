"""What the soak expects agrees with what the product plans, though neither knows the other."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schedules_pipeline.domain.cadence import Cadence
from schedules_pipeline.domain.occurrences import occurrences
from soak.occurrences import Expected
from soak.stage import CADENCES

HOUR = timedelta(hours=1)
BEGINNINGS = [
    datetime(2026, 6, 24, 9, 0, tzinfo=UTC),
    datetime(2026, 6, 24, 9, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 6, 24, 8, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 6, 24, 9, 1, 30, 500_000, tzinfo=UTC),
]


@pytest.mark.parametrize("began", BEGINNINGS, ids=str)
@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_both_count_the_same_occurrences(cadence: dict[str, Any], began: datetime) -> None:
    expected = list(Expected("s", "a", began, **cadence).occurrences(began + HOUR))
    planned = occurrences(Cadence(**cadence), began, began + HOUR)
    assert expected == list(planned)
    assert expected
