"""What a cadence will do, before it does it: for an unsaved one, and for a schedule."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from schedules_pipeline.domain.cadence import Cadence, validate
from schedules_pipeline.domain.cautions import warnings
from schedules_pipeline.domain.describe import sentence
from schedules_pipeline.domain.preview import Preview, PreviewedOccurrence, preview
from schedules_pipeline.errors import InvalidInput
from schedules_pipeline.services.managing import require_schedule
from schedules_pipeline.services.store_port import Store, Transaction

COLUMNS = ("UTC", "LOCAL", "DUE", "MARKS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Occurrences, with the cadence in English and what may surprise about it."""

    preview: Preview
    sentence: str
    warnings: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which occurrences: later than `after`, up to and including `until`, at most `count`."""

    after: datetime | None
    count: int
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.after is not None and self.until is not None and self.until < self.after:
            raise InvalidInput("to", "is before from; give a later instant")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    cadence: Cadence
    schedule_id: str | None
    now: datetime
    skips: AbstractSet[datetime] = field(default_factory=frozenset)


class Previews:
    """Previews; without a beginning they begin at the database's present time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_cadence(self, cadence: Cadence, span: Span) -> Explained:
        """What an unsaved cadence will do. Errors: InvalidCadence."""
        validate(cadence)
        now = span.after or self._store.run(lambda tx: tx.now())
        return _explain(_Subject(cadence=cadence, schedule_id=None, now=now), span)

    def of_schedule(self, agent_id: str, schedule_id: str, span: Span) -> Explained:
        """What a schedule will do, its one-off skips marked. Errors: NotFound."""
        subject = self._store.run(lambda tx: _read(tx, agent_id, schedule_id))
        return _explain(subject, span)


def explain(cadence: Cadence, span: Span, now: datetime) -> Explained:
    """The same without a database: `now` is where it begins unless the span says otherwise.

    Errors: InvalidCadence.
    """
    validate(cadence)
    return _explain(_Subject(cadence=cadence, schedule_id=None, now=now), span)


def table(explained: Explained) -> str:
    """The preview as people read it in a terminal: sentence, occurrences, warnings."""
    rows = [COLUMNS, *map(_cells, explained.preview.occurrences)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if explained.preview.exhausted:
        lines.append("No occurrence comes after these.")
    lines += [f"warning: {text}" for text in explained.warnings]
    return "\n".join([explained.sentence, "", *lines])


def _cells(occurrence: PreviewedOccurrence) -> tuple[str, ...]:
    return (
        f"{occurrence.nominal_at:%Y-%m-%d %H:%M:%SZ}",
        f"{occurrence.local:%a %Y-%m-%d %H:%M:%S} {occurrence.local.isoformat()[19:]}",
        f"{occurrence.due_at:%H:%M:%S}.{occurrence.due_at.microsecond // 1000:03d}",
        ", ".join(occurrence.marks),
    )


def _read(tx: Transaction, agent_id: str, schedule_id: str) -> _Subject:
    schedule = require_schedule(tx, agent_id, schedule_id)
    return _Subject(
        cadence=schedule.cadence,
        schedule_id=schedule.id,
        now=tx.now(),
        skips=tx.schedules.skips(schedule.id),
    )


def _explain(subject: _Subject, span: Span) -> Explained:
    after = span.after or subject.now
    shown = preview(
        subject.cadence,
        subject.schedule_id,
        after,
        span.count,
        skips=subject.skips,
        until=span.until,
    )
    said = [*warnings(subject.cadence, after), *_warnings_about(shown, subject)]
    return Explained(preview=shown, sentence=sentence(subject.cadence), warnings=said)


def _warnings_about(shown: Preview, subject: _Subject) -> list[str]:
    said = []
    if shown.gave_up:
        said.append(
            f"the list ends early, after {len(shown.occurrences):,} entries: "
            "nearly everything is left out by exclude_cron or skips"
        )
    if subject.schedule_id is None and subject.cadence.jitter_seconds:
        said.append(
            "due times are shown without jitter, which depends on the schedule's id: "
            f"each will be up to {subject.cadence.jitter_seconds} s later"
        )
    return said
