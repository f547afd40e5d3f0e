"""Answers by Idempotency-Key, and indexes for what is listed across agents and schedules.

Revision ID: 0009
Revises: 0008

No index on fires names a column that a fire's life updates: its updates stay HOT.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEYS = """
create table idempotency_keys (
    scope text not null,
    key text not null,
    fingerprint text not null,
    created_at timestamptz not null default statement_timestamp(),
    status smallint,
    etag text,
    body text,
    primary key (scope, key),
    constraint an_answer_is_whole check (num_nonnulls(status, body) in (0, 2))
);
create index idempotency_keys_created_at on idempotency_keys (created_at);
"""

LISTS = """
create index fires_by_time on fires (nominal_at desc, id);
create index fires_by_agent on fires (agent_id, nominal_at desc, id);
create index agent_run_schedules_by_creation
    on agent_run_schedules (created_at, id) where deleted_at is null;
create index agent_run_schedules_by_name
    on agent_run_schedules (name, id) where deleted_at is null;
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    for statements in (KEYS, LISTS):
        connection.exec_driver_sql(statements)
