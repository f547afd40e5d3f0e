"""Edits of a schedule, the policies of lateness, limits and failures, and the ends they bring.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

POLICIES = """
alter table agent_run_schedules
    add column catchup_policy text not null default 'latest'
        check (catchup_policy in ('latest', 'all', 'none')),
    add column catchup_window_seconds integer not null default 3600
        check (catchup_window_seconds >= 0),
    add column max_fires integer check (max_fires >= 1),
    add column pause_after_failures integer check (pause_after_failures >= 1);

alter table schedule_clock
    add column consecutive_failures integer not null default 0 check (consecutive_failures >= 0);

alter table schedule_changes
    drop constraint schedule_changes_operation_check,
    add constraint schedule_changes_operation_check check (operation in
        ('create', 'update', 'pause', 'resume', 'skip', 'unskip', 'delete'));
"""

REASONS = """
alter table fires
    drop constraint state_and_reason,
    add constraint state_and_reason check (
        case state
            when 'planned' then reason is null
            when 'claimed' then reason is null
            when 'task_created' then reason is null
            when 'delivered' then reason is null
            when 'failed' then reason is not null and reason in
                ('agent_error', 'unreachable', 'timeout', 'bad_reply', 'delivery_unknown',
                 'internal_error')
            when 'skipped' then reason is not null and reason in
                ('paused', 'deleted', 'agent_deleted', 'skipped_by_user', 'overlap', 'exhausted')
            when 'missed' then reason is not null and reason in
                ('catchup_none', 'coalesced', 'catchup_window', 'stale')
            when 'cancelled' then reason is not null and reason in
                ('run_cancelled', 'schedule_changed')
            else false
        end),
    drop constraint fires_trigger_type_check,
    add constraint fires_trigger_type_check
        check (trigger_type in ('scheduled', 'manual'));

alter table gaps
    drop constraint gaps_reason_check,
    add constraint gaps_reason_check check (reason in
        ('catchup_none', 'coalesced', 'catchup_window', 'schedule_changed', 'paused', 'deleted'));
"""

# The same table as domain/fire.py LEGAL_MOVES and REOPENINGS; a test holds the two together.
STATE_MACHINE = """
create or replace function fires_move_legally() returns trigger language plpgsql as $$
begin
    if not (
        (old.state = 'planned'
            and new.state in ('claimed', 'skipped', 'missed', 'cancelled'))
        or (old.state = 'claimed'
            and new.state in ('task_created', 'failed', 'skipped', 'missed', 'cancelled'))
        or (old.state = 'task_created'
            and new.state in ('delivered', 'failed', 'skipped'))
        or (new.state = 'planned' and (
            old.state in ('failed', 'missed')
            or (old.state = 'cancelled' and old.reason in ('run_cancelled', 'schedule_changed'))
            or (old.state = 'skipped' and old.reason = 'skipped_by_user')))
        or (old.state = 'cancelled' and old.reason = 'schedule_changed'
            and new.state = 'skipped' and new.reason = 'skipped_by_user')
    ) then
        raise exception 'fire %: a move from % to % is not legal', old.id, old.state, new.state
            using errcode = 'check_violation', constraint = 'fires_move_legally';
    end if;
    return new;
end
$$;
"""


def upgrade() -> None:
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    for statements in (POLICIES, REASONS, STATE_MACHINE):
        connection.exec_driver_sql(statements)
