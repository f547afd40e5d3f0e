"""Who waits for whom: fires that wait in the ledger, fires told to stop, a schedule's last task.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Waiting fires are found through their clocks: no index on fires may name a column that changes,
# and the slices that they came from are settled without them.
WAITING = """
alter table schedule_clock
    add column waiting_count integer not null default 0 check (waiting_count >= 0),
    add column last_fire_id text;
create index schedule_clock_waiting on schedule_clock (schedule_id) where waiting_count > 0;

create index agent_run_schedules_minding_tasks on agent_run_schedules (id)
    where overlap_scope = 'task';

alter table fires add column stop_requested_at timestamptz;
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    connection.exec_driver_sql(WAITING)
