"""A cadence's other fields: one instant, phase, exclusions, daylight saving, jitter.

Also the order in which an agent's schedules are listed: newest first, without reading them all.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CADENCE = """
alter table agent_run_schedules
    add column interval_phase_seconds integer not null default 0,
    add column fire_at timestamptz,
    add column cron_day_match text not null default 'either'
        check (cron_day_match in ('either', 'all')),
    add column exclude_cron text[] not null default '{}'
        check (cardinality(exclude_cron) <= 50),
    add column dst_gap text not null default 'run_after' check (dst_gap in ('run_after', 'skip')),
    add column dst_fold text not null default 'first'
        check (dst_fold in ('first', 'last', 'both')),
    add column jitter_seconds integer not null default 0 check (jitter_seconds >= 0),
    drop constraint one_cadence,
    add constraint one_cadence
        check (num_nonnulls(cron_expression, interval_seconds, fire_at) = 1),
    add constraint phase_within_interval
        check (interval_phase_seconds >= 0
               and interval_phase_seconds < coalesce(interval_seconds, 1))
"""

NEWEST_FIRST = """
create index agent_run_schedules_newest_first
    on agent_run_schedules (agent_id, created_at desc, id) where deleted_at is null
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    for statement in (CADENCE, NEWEST_FIRST):
        connection.exec_driver_sql(statement)
