"""Whether the tables are those of this code: asked by processes that never change them.

So without Alembic, whose import takes 10 MiB of each.
"""

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).parent / "migrations"


def is_migrated(connection: Connection) -> bool:
    """Whether the tables are those that this code was written for."""
    if connection.execute(text("select to_regclass('alembic_version')")).scalar_one() is None:
        return False
    found = connection.execute(text("select version_num from alembic_version")).scalar()
    return found == head()


@cache
def head() -> str:
    """The last migration: they are one line, and numbered."""
    return max(file.name for file in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]
