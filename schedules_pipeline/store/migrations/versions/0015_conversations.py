"""Tasks made by hand: events and messages, tasks without a name, and who moved a task.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# moved_at: when somebody said by one of the task's routes what became of it. Only that proves an
# input; updated_at moves with metadata, too. Fires that are under way keep the proof they have.
TASKS = """
alter table tasks alter column name drop not null;
alter table tasks add column moved_at timestamptz;
update tasks t set moved_at = t.updated_at
from fires f
where f.task_id = t.id and f.state in ('claimed', 'task_created')
  and t.updated_at > t.created_at
  and t.status_reason is distinct from 'Stopped for a later run of its schedule';
create index tasks_newest_first on tasks (created_at desc, id);
create index tasks_by_agent on tasks (agent_id, created_at desc, id);
"""

# Below the first number: those of fires, which count a fire's drives and have no row here.
EVENTS = """
create table events (
    id text primary key,
    sequence_id bigint generated always as identity (start with 1000001),
    task_id text not null references tasks,
    agent_id text not null references agents,
    content jsonb,
    created_at timestamptz not null default statement_timestamp()
);
create unique index events_by_task on events (task_id, sequence_id);
"""

MESSAGES = """
create table messages (
    id text primary key,
    position bigint generated always as identity,
    task_id text not null references tasks,
    content jsonb not null,
    streaming_status text not null check (streaming_status in ('IN_PROGRESS', 'DONE')),
    created_at timestamptz not null,
    updated_at timestamptz not null default statement_timestamp()
);
create unique index messages_by_task on messages (task_id, created_at, position);
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    for statements in (TASKS, EVENTS, MESSAGES):
        connection.exec_driver_sql(statements)
