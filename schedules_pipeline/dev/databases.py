"""The two databases on one server: ours, and Dagster's beside it.

Dagster's tables get a database of their own rather than a schema: both keep an `alembic_version`
table, a schema would depend on a search_path that connection poolers drop, and a database can be
dumped, measured and thrown away by itself (docs/decisions/0001).
"""

from contextlib import suppress
from datetime import datetime
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
from psycopg import errors, sql

from schedules_pipeline.errors import StartupError
from schedules_pipeline.settings import Settings, with_driver

# Tried in turn when the wanted database does not exist yet: CREATE DATABASE needs another one.
MAINTENANCE_DATABASES = ("postgres", "template1")


def dagster_url(settings: Settings) -> str:
    """Where Dagster keeps its tables: as set, else `<our database>_dagster` on the same server.

    Always with psycopg 2: under psycopg 3, dagster-postgres fails at `NOTIFY … $1`.
    """
    if settings.dagster_url:
        return with_driver(settings.dagster_url, "psycopg2")
    if not settings.database_url:
        raise StartupError("SCHEDULES_DATABASE_URL is not set.")
    beside = with_database(settings.database_url, f"{database_of(settings.database_url)}_dagster")
    return with_driver(beside, "psycopg2")


def ensure_database(url: str) -> None:
    """Create the database that this URL names, unless it exists.

    Errors: StartupError when the server cannot be reached or does not let us create it.
    """
    plain = without_driver(url)
    try:
        psycopg.connect(plain, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        # libpq gives no error code at connection time; its text is translated. So: just try.
        _create(plain, _one_line(error))


def _create(url: str, why_not_connected: str) -> None:
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database_of(url)))
    complaint = why_not_connected
    for maintenance in MAINTENANCE_DATABASES:
        try:
            with psycopg.connect(
                with_database(url, maintenance), connect_timeout=5, autocommit=True
            ) as connection:
                # Another `schedules migrate` may have been first; that is as good.
                with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    connection.execute(statement)
                return
        except psycopg.Error as error:
            complaint = _one_line(error)
    raise StartupError(
        f"Database `{database_of(url)}` cannot be reached or created: {why_not_connected}"
        + (f" ({complaint})" if complaint != why_not_connected else "")
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def database_of(url: str) -> str:
    """The name of the database in a URL."""
    return unquote(urlsplit(url).path.lstrip("/")) or "postgres"


def with_database(url: str, database: str) -> str:
    """The same server, another database."""
    parts = urlsplit(url)
    spelled = urlunsplit(parts._replace(path=f"/{database}"))
    # urlunsplit drops the empty host of a Unix-socket URL (postgresql:///db?host=/dir).
    return spelled if "://" in spelled else spelled.replace(":", "://", 1)


def without_driver(url: str) -> str:
    """The URL as libpq wants it: `postgresql://…`, no `+driver`."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.split('+')[0]}://{rest}"


def server_time(url: str) -> datetime:
    """The database's clock, the one that decides."""
    with psycopg.connect(without_driver(url), connect_timeout=5) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    if row is None:
        raise StartupError("The database did not say what time it is.")
    now: datetime = row[0]
    return now
