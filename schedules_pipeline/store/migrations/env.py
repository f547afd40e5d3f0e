"""Alembic's entry point. The connection is handed over by `store.migrate`."""

from alembic import context

config = context.config
connection = config.attributes.get("connection")

if connection is None:
    raise SystemExit("Run migrations with `schedules migrate`, which knows the database.")

context.configure(connection=connection, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
