"""Principals and their keys, for `SCHEDULES_AUTH=api_key`.

Revision ID: 0013
Revises: 0012

A key's secret is never written: only its SHA-256, which says nothing about 256 random bits.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

PRINCIPALS = """
create table principals (
    name text primary key,
    role text not null,
    created_at timestamptz not null default statement_timestamp(),
    revoked_at timestamptz,
    constraint a_principal_is_named check (name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$'),
    constraint a_role_is_known check (role in ('viewer', 'editor', 'admin')),
    constraint revoked_after_creation check (revoked_at >= created_at)
);
"""

KEYS = """
create table api_keys (
    id text primary key,
    principal text not null references principals (name),
    key_hash text not null unique,
    created_at timestamptz not null default statement_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint a_key_is_only_a_hash check (key_hash ~ '^[0-9a-f]{64}$'),
    constraint expires_after_creation check (expires_at > created_at),
    constraint revoked_after_creation check (revoked_at >= created_at)
);
create index api_keys_by_principal on api_keys (principal);
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    for statements in (PRINCIPALS, KEYS):
        connection.exec_driver_sql(statements)
