"""A fire whose creator may not start it is skipped; one that nobody could ask about fails.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

REASONS = """
alter table fires
    drop constraint state_and_reason,
    add constraint state_and_reason check (
        case state
            when 'planned' then reason is null
            when 'waiting' then reason is not null and reason in ('overlap')
            when 'claimed' then reason is null
            when 'task_created' then reason is null
            when 'delivered' then reason is null
            when 'failed' then reason is not null and reason in
                ('agent_error', 'unreachable', 'timeout', 'bad_reply', 'delivery_unknown',
                 'internal_error', 'access_unavailable')
            when 'skipped' then reason is not null and reason in
                ('paused', 'deleted', 'agent_deleted', 'skipped_by_user', 'overlap', 'exhausted',
                 'buffer_full', 'permission_denied')
            when 'missed' then reason is not null and reason in
                ('catchup_none', 'coalesced', 'catchup_window', 'stale')
            when 'cancelled' then reason is not null and reason in
                ('run_cancelled', 'schedule_changed', 'overlap')
            else false
        end);
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    connection.exec_driver_sql(REASONS)
