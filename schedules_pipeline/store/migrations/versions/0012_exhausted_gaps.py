"""A clock that was behind when its schedule fired for the last time leaves a gap.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

REASONS = """
alter table gaps
    drop constraint gaps_reason_check,
    add constraint gaps_reason_check check (reason in
        ('catchup_none', 'coalesced', 'catchup_window', 'schedule_changed', 'paused', 'deleted',
         'exhausted'));
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    connection.exec_driver_sql(REASONS)
