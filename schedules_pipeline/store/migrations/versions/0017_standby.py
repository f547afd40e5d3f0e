"""Slices of kind `now`: a standby worker's hour.

Revision ID: 0017
Revises: 0015
"""

from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None

NOW = """
alter table slices
    drop constraint slices_kind_check,
    add constraint slices_kind_check
        check (kind in ('minute', 'sync', 'backlog', 'missed', 'now'));
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    connection.exec_driver_sql(NOW)
