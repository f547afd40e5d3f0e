"""Bring the database's tables to the version that this code needs."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from schedules_pipeline.errors import StartupError, Unavailable
from schedules_pipeline.store.version import MIGRATIONS

OLDEST_POSTGRES = 14

# Two `schedules migrate` at once: the second waits, then finds nothing to do.
MIGRATION_LOCK = 7_305_001


def migrate(url: str) -> None:
    """Run every migration that the database lacks. Doing it again changes nothing.

    Errors: Unavailable when the database cannot be reached, StartupError when it is too old.
    """
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            _require_version(connection)
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except OperationalError as error:
        raise Unavailable(f"The database cannot be reached: {error.orig}") from None
    finally:
        engine.dispose()


def _require_version(connection: Connection) -> None:
    asked = text("select cast(current_setting('server_version_num') as int)")
    found = connection.execute(asked).scalar_one() // 10_000
    if found < OLDEST_POSTGRES:
        raise StartupError(
            f"The database is PostgreSQL {found}; {OLDEST_POSTGRES} or newer is needed. Upgrade "
            "it, or name another in SCHEDULES_DATABASE_URL."
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
