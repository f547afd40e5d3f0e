"""A database whose clock the test sets: all SQL of the product, and so everything, lives in it."""

from datetime import datetime

import psycopg


def give_a_clock(database_url: str) -> None:
    """From now on, whoever connects finds the time that `set_clock` last said."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table public.simulated_clock (at timestamptz not null)")
        connection.execute("insert into public.simulated_clock values (statement_timestamp())")
        connection.execute(
            "create function public.statement_timestamp() returns timestamptz "
            "stable language sql as 'select at from public.simulated_clock'"
        )
        # An unqualified name is looked up in this order; normally the catalog comes first.
        connection.execute(
            "do $$ begin execute format('alter database %I set search_path = public, pg_catalog', "
            "current_database()); end $$"
        )
        # A column's default was bound to the real clock when its table was made.
        defaults = connection.execute(
            "select table_name, column_name from information_schema.columns "
            "where table_schema = 'public' and column_default like '%statement_timestamp()%'"
        ).fetchall()
        for table, column in defaults:
            connection.execute(
                f"alter table {table} alter column {column} "
                "set default public.statement_timestamp()".encode()
            )


def set_clock(database_url: str, at: datetime) -> None:
    """It is `at` now, and stays so."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update public.simulated_clock set at = %s", [at])
