"""A slice is emitted ever later only while its runs come to nothing.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Since a run of it last ended or recorded a fire. `emit_count` names the run keys and only grows.
FRUITLESS = """
alter table slices
    add column fruitless_count integer not null default 0 check (fruitless_count >= 0);
update slices set fruitless_count = emit_count where settled_at is null;
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    connection.exec_driver_sql(FRUITLESS)
