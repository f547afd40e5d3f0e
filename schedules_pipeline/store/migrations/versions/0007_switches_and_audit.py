"""Switches of the clock, what the audit reads of the history, and clocks of older zone rules.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SWITCHES = """
create table clock_switches (
    id bigint generated always as identity primary key,
    scope text not null check (scope in ('all', 'agent')),
    agent_id text references agents,
    off_since timestamptz not null default statement_timestamp(),
    on_at timestamptz check (on_at >= off_since),
    actor jsonb not null default '{}',
    note text,
    on_actor jsonb,
    on_note text,
    constraint an_agents_switch_names_it check ((scope = 'agent') = (agent_id is not null)),
    constraint who_switched_on check (on_at is not null or num_nonnulls(on_actor, on_note) = 0)
);
create unique index clock_switches_open on clock_switches (scope, coalesce(agent_id, ''))
    where on_at is null;
create index clock_switches_by_agent on clock_switches (agent_id, id);
"""

AUDIT = """
-- Since when the clock had been exhausted when this change was made; null: it was not.
alter table schedule_changes add column exhausted_since timestamptz;

-- A tick asks for clocks that were set under other zone rules; usually there are none.
create index schedule_clock_tzdata_version on schedule_clock (tzdata_version)
    where next_due_at is not null;
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    for statements in (SWITCHES, AUDIT):
        connection.exec_driver_sql(statements)
