"""An input is whole: a row edited by hand must not stop the claim of a hundred others.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

WHOLE_INPUTS = """
alter table agent_run_schedules add constraint input_is_whole check (
    jsonb_typeof(initial_input -> 'content') is not distinct from 'string'
    and initial_input ->> 'author' is not null
    and initial_input ->> 'author' in ('user', 'agent'));
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    connection.exec_driver_sql(WHOLE_INPUTS)
