"""Overlap policies, the guarantee of delivery, and the states and kinds that they bring.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

POLICIES = """
alter table agent_run_schedules
    add column overlap_policy text not null default 'skip' check (overlap_policy in
        ('skip', 'allow_all', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other')),
    add column overlap_scope text not null default 'delivery'
        check (overlap_scope in ('delivery', 'task')),
    add column overlap_task_timeout_seconds integer not null default 86400
        check (overlap_task_timeout_seconds >= 1),
    add column delivery_guarantee text not null default 'at_least_once'
        check (delivery_guarantee in ('at_least_once', 'at_most_once'));
"""

STATES = """
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
                 'internal_error')
            when 'skipped' then reason is not null and reason in
                ('paused', 'deleted', 'agent_deleted', 'skipped_by_user', 'overlap', 'exhausted',
                 'buffer_full')
            when 'missed' then reason is not null and reason in
                ('catchup_none', 'coalesced', 'catchup_window', 'stale')
            when 'cancelled' then reason is not null and reason in
                ('run_cancelled', 'schedule_changed', 'overlap')
            else false
        end),
    drop constraint fires_trigger_type_check,
    add constraint fires_trigger_type_check
        check (trigger_type in ('scheduled', 'manual', 'backfill'));

alter table slices
    drop constraint slices_kind_check,
    add constraint slices_kind_check check (kind in ('minute', 'sync', 'backlog', 'missed'));
"""

# The same table as domain/fire.py LEGAL_MOVES and REOPENINGS; a test holds the two together.
STATE_MACHINE = """
create or replace function fires_move_legally() returns trigger language plpgsql as $$
begin
    if not (
        (old.state = 'planned'
            and new.state in ('waiting', 'claimed', 'skipped', 'missed', 'cancelled'))
        or (old.state = 'waiting'
            and new.state in ('planned', 'skipped'))
        or (old.state = 'claimed'
            and new.state in ('task_created', 'failed', 'skipped', 'missed', 'cancelled'))
        or (old.state = 'task_created'
            and new.state in ('delivered', 'failed', 'skipped', 'cancelled'))
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
    for statements in (POLICIES, STATES, STATE_MACHINE):
        connection.exec_driver_sql(statements)
