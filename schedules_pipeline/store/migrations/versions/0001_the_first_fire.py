"""Agents, schedules, the clock, slices, dispatches and the ledger.

Revision ID: 0001
Revises: -

The rules that the product sells stand here first: one row per occurrence, legal moves only,
an end has its reason, a claim names its dispatch.

Fires are updated about four times each. No index on them names a column that those updates
touch, and pages are left half empty, so that 95 % of the updates are HOT (heap-only).
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

AGENTS = """
create table agents (
    id text primary key,
    name text not null unique check (name ~ '^[a-z0-9-]+$'),
    description text not null,
    acp_type text not null check (acp_type in ('sync', 'async', 'agentic')),
    acp_url text not null,
    status text not null default 'Ready'
        check (status in ('Ready', 'Failed', 'Unknown', 'Deleted', 'Unhealthy', 'BuildOnly')),
    api_key text not null,
    registration_metadata jsonb,
    agent_input_type text check (agent_input_type in ('text', 'json')),
    created_at timestamptz not null default statement_timestamp(),
    updated_at timestamptz not null default statement_timestamp(),
    registered_at timestamptz not null default statement_timestamp()
)
"""

SCHEDULES = """
create table agent_run_schedules (
    id text primary key,
    agent_id text not null references agents,
    name text not null check (name ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' and length(name) <= 64),
    description text,
    cron_expression text,
    interval_seconds integer check (interval_seconds >= 1),
    timezone text not null default 'UTC',
    start_at timestamptz,
    end_at timestamptz,
    paused boolean not null default false,
    creator_principal jsonb not null default '{}',
    task_params jsonb,
    task_metadata jsonb,
    initial_input jsonb not null,
    version integer not null default 1,
    created_at timestamptz not null default statement_timestamp(),
    updated_at timestamptz not null default statement_timestamp(),
    deleted_at timestamptz,
    constraint one_cadence check (num_nonnulls(cron_expression, interval_seconds) = 1),
    constraint window_in_order check (end_at >= start_at)
);
create unique index agent_run_schedules_active_name
    on agent_run_schedules (agent_id, name) where deleted_at is null;
create index agent_run_schedules_updated_at on agent_run_schedules (updated_at);

-- Kept apart so that ticking never touches the definition. Its row is the schedule's mutex.
create table schedule_clock (
    schedule_id text primary key references agent_run_schedules,
    next_nominal_at timestamptz,
    next_due_at timestamptz,
    tzdata_version text not null,
    last_fire_at timestamptz,
    fire_count integer not null default 0,
    constraint due_follows_nominal check (next_due_at >= next_nominal_at),
    constraint both_or_neither check (num_nonnulls(next_nominal_at, next_due_at) in (0, 2))
) with (fillfactor = 80);
create index schedule_clock_next_due_at on schedule_clock (next_due_at);

create table schedule_skips (
    schedule_id text not null references agent_run_schedules,
    nominal_at timestamptz not null,
    primary key (schedule_id, nominal_at)
);

create table schedule_changes (
    id bigint generated always as identity primary key,
    schedule_id text not null references agent_run_schedules,
    version integer not null,
    operation text not null check (operation in ('create', 'delete')),
    actor jsonb not null default '{}',
    at timestamptz not null default statement_timestamp(),
    reason text,
    note text,
    tzdata_version text not null,
    before jsonb,
    after jsonb
);
create index schedule_changes_by_schedule on schedule_changes (schedule_id, id);
"""

CLOCK = """
create table clock_heartbeat (
    only_row boolean primary key default true check (only_row),
    ticked_at timestamptz not null,
    tick_no bigint not null,
    series_since timestamptz not null
)
"""

LEDGER = """
create table slices (
    slice_key text primary key,
    kind text not null check (kind in ('minute', 'sync', 'backlog')),
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    emit_after timestamptz not null,
    emit_count integer not null default 0,
    settled_at timestamptz
);
create index slices_open on slices (starts_at) where settled_at is null;

create table dispatches (
    dagster_run_id text primary key,
    slice_key text not null references slices,
    by_person boolean not null default false,
    host text not null,
    pid integer not null,
    started_at timestamptz not null default statement_timestamp(),
    heartbeat_at timestamptz not null default statement_timestamp(),
    finished_at timestamptz
);
create index dispatches_by_slice on dispatches (slice_key);
create index dispatches_live on dispatches (started_at) where finished_at is null;

create table fires (
    id text primary key,
    schedule_id text not null references agent_run_schedules,
    schedule_version integer,
    agent_id text not null references agents,
    nominal_at timestamptz not null,
    due_at timestamptz not null check (due_at >= nominal_at),
    owed_at timestamptz not null check (owed_at >= due_at),
    trigger_type text not null check (trigger_type in ('scheduled')),
    slice_key text not null references slices,
    state text not null default 'planned',
    reason text,
    task_id text,
    idempotency_key text not null,
    redrive_count integer not null default 0,
    forced boolean not null default false,
    attempts integer not null default 0 check (attempts between 0 and 5),
    claimed_by text references dispatches,
    created_at timestamptz not null default statement_timestamp(),
    claimed_at timestamptz,
    task_created_at timestamptz,
    sent_at timestamptz,
    delivered_at timestamptz,
    finished_at timestamptz,
    error text,
    reply_excerpt text,
    possible_duplicate boolean not null default false,
    recorded_at timestamptz,
    constraint state_and_reason check (
        case state
            when 'planned' then reason is null
            when 'claimed' then reason is null
            when 'task_created' then reason is null
            when 'delivered' then reason is null
            when 'failed' then reason is not null and reason in
                ('agent_error', 'unreachable', 'timeout', 'bad_reply', 'delivery_unknown',
                 'internal_error')
            when 'skipped' then reason is not null and reason in
                ('paused', 'deleted', 'agent_deleted', 'skipped_by_user', 'overlap')
            when 'missed' then reason is not null and reason in ('coalesced')
            when 'cancelled' then reason is not null and reason in ('run_cancelled')
            else false
        end),
    constraint an_end_has_its_time check (
        (finished_at is not null) = (state in
            ('delivered', 'failed', 'skipped', 'missed', 'cancelled'))),
    constraint a_claim_names_its_dispatch check (
        state not in ('claimed', 'task_created', 'delivered')
        or (claimed_by is not null and claimed_at is not null)),
    constraint a_task_comes_before_its_input check (
        state not in ('task_created', 'delivered')
        or (task_id is not null and task_created_at is not null)),
    constraint delivered_when check ((delivered_at is not null) = (state = 'delivered')),
    constraint only_ends_are_recorded check (recorded_at is null or finished_at is not null)
) with (fillfactor = 50);
create unique index fires_one_per_occurrence on fires (schedule_id, nominal_at)
    where not forced and trigger_type in ('scheduled', 'backfill');
create index fires_by_schedule on fires (schedule_id, nominal_at desc, id);
create index fires_by_slice on fires (slice_key, schedule_id);

create table gaps (
    id bigint generated always as identity primary key,
    schedule_id text not null references agent_run_schedules,
    from_at timestamptz not null,
    to_at timestamptz not null,
    reason text not null check (reason in ('coalesced')),
    created_at timestamptz not null default statement_timestamp(),
    constraint in_order check (to_at > from_at),
    unique (schedule_id, from_at)
);
"""

TASKS = """
create table tasks (
    id text primary key,
    name text not null unique,
    agent_id text not null references agents,
    status text not null default 'RUNNING' check (status in
        ('RUNNING', 'INTERRUPTED', 'CANCELED', 'COMPLETED', 'FAILED', 'TERMINATED', 'TIMED_OUT',
         'DELETED')),
    status_reason text,
    params jsonb,
    task_metadata jsonb not null default '{}',
    creator jsonb not null default '{}',
    created_at timestamptz not null default statement_timestamp(),
    updated_at timestamptz not null default statement_timestamp()
);
create index tasks_by_metadata on tasks using gin (task_metadata jsonb_path_ops);
"""

# The same table as domain/fire.py LEGAL_MOVES; a test holds the two together.
STATE_MACHINE = """
create function fires_move_legally() returns trigger language plpgsql as $$
begin
    if not (
        (old.state = 'planned'
            and new.state in ('claimed', 'skipped', 'missed', 'cancelled'))
        or (old.state = 'claimed'
            and new.state in ('task_created', 'failed', 'skipped', 'missed', 'cancelled'))
        or (old.state = 'task_created'
            and new.state in ('delivered', 'failed', 'skipped'))
    ) then
        raise exception 'fire %: a move from % to % is not legal', old.id, old.state, new.state
            using errcode = 'check_violation', constraint = 'fires_move_legally';
    end if;
    return new;
end
$$;
create trigger fires_move_legally before update of state on fires
    for each row when (old.state is distinct from new.state)
    execute function fires_move_legally();

create function schedule_changes_are_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'schedule_changes is append-only'
        using errcode = 'check_violation', constraint = 'schedule_changes_are_append_only';
end
$$;
create trigger schedule_changes_are_append_only before update or delete on schedule_changes
    for each row execute function schedule_changes_are_append_only();
"""


def upgrade() -> None:
    # No parameters: several statements in one text, and per cent signs mean themselves.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("set local lock_timeout = '5s'")
    for statements in (AGENTS, SCHEDULES, CLOCK, LEDGER, TASKS, STATE_MACHINE):
        connection.exec_driver_sql(statements)
