"""What the code under measurement says to PostgreSQL: each statement, and how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, event

from schedules_pipeline.store.unit_of_work import PostgresStore


@dataclass
class Watched:
    """The statements of a stretch of work, in order: text, parameters, seconds until answered."""

    statements: list[tuple[str, Any, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """In the database, the way there and back counted."""
        return sum(seconds for _, _, seconds in self.statements)


@contextmanager
def watched() -> Iterator[Watched]:
    """Watch every engine of this process."""
    seen, begun = Watched(), [0.0]

    def before(*_: Any) -> None:
        begun[0] = time.perf_counter()

    def after(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.statements.append((statement, parameters, time.perf_counter() - begun[0]))

    hooks = (("before_cursor_execute", before), ("after_cursor_execute", after))
    for name, hook in hooks:
        event.listen(Engine, name, hook)
    try:
        yield seen
    finally:
        for name, hook in hooks:
            event.remove(Engine, name, hook)


LONGEST_LINE = 240
"""Of a plan: a condition may hold a thousand ids."""


class _Undo(Exception):
    """Rolls back what EXPLAIN ANALYZE did."""


def explain(store: PostgresStore, seen: Watched) -> list[str]:
    """The plan of each different statement, as PostgreSQL runs it now; nothing is changed by it."""
    texts = {statement: parameters for statement, parameters, _ in seen.statements}
    plans = []

    def work(connection: Connection) -> None:
        # In one transaction: a fire needs the slice that an earlier statement inserts.
        for statement, parameters in texts.items():
            asked = f"explain (analyze, buffers, costs off) {statement}"
            found = connection.exec_driver_sql(asked, parameters)
            lines = [f"  {row[0][:LONGEST_LINE]}" for row in found]
            plans.append("\n".join([statement.strip(), *lines]))
        raise _Undo

    with suppress(_Undo):
        store.on_connection(work)
    return plans
