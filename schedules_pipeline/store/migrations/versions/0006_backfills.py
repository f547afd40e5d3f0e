"""Backfills of a range: what was asked for, how far it has been fed, and which fires are its own.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BACKFILLS = """
create table backfills (
    id text primary key,
    schedule_id text not null references agent_run_schedules,
    from_at timestamptz not null,
    to_at timestamptz not null,
    overlap_policy text not null check (overlap_policy in ('allow_all', 'one_by_one')),
    forced boolean not null,
    actor jsonb not null default '{}',
    created_at timestamptz not null default statement_timestamp(),
    instants_count integer not null check (instants_count between 0 and 10000),
    left_count integer not null default 0 check (left_count >= 0),
    next_at timestamptz,
    constraint range_in_order check (to_at >= from_at)
);
create index backfills_being_fed on backfills (created_at) where next_at is not null;

-- No update of a claim or an outcome touches it: those stay heap-only.
alter table fires add column backfill_id text references backfills;
create index fires_by_backfill on fires (backfill_id) where backfill_id is not null;
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    connection.exec_driver_sql(BACKFILLS)
