"""The ledger over HTTP: newest first, page by page, planned ones included."""

from typing import Any

import psycopg

from tests.api.factories import Api

FIRE_KEYS = {
    "id",
    "schedule_id",
    "agent_id",
    "nominal_at",
    "due_at",
    "trigger_type",
    "state",
    "reason",
    "task_id",
    "idempotency_key",
    "attempts",
    "dagster_run_id",
    "delivered_at",
    "lateness_seconds",
    "possible_duplicate",
    "error",
    "reply_excerpt",
}

PAST_FIRES = """
insert into slices (slice_key, kind, starts_at, ends_at, emit_after)
values ('past', 'minute', '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z', '2026-01-01T00:00:00Z')
on conflict do nothing;
insert into dispatches (dagster_run_id, slice_key, host, pid) values ('run-1', 'past', 'h', 1)
on conflict do nothing;
insert into fires (id, schedule_id, agent_id, nominal_at, due_at, owed_at, trigger_type,
                   slice_key, state, reason, idempotency_key, finished_at)
select 'past-' || n, id, agent_id, at, at, at, 'scheduled', 'past', 'skipped', 'paused',
       'past-' || n, at
from agent_run_schedules, generate_series({first}, {last}) n,
     lateral (select timestamptz '2026-01-01T00:00:00Z' + make_interval(secs => n) as at) x;
"""

DELIVERED = """
update fires set state = 'claimed', claimed_by = 'run-1', claimed_at = due_at;
update fires set state = 'task_created', task_id = 'task-1', task_created_at = due_at;
update fires set state = 'delivered', attempts = 1, delivered_at = due_at + interval '30 ms',
    sent_at = due_at + interval '25 ms', finished_at = due_at + interval '30 ms',
    reply_excerpt = 'done';
"""


def _write(database_url: str, *statements: str) -> None:
    with psycopg.connect(database_url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _fires(api: Api, schedule: dict[str, Any], query: str = "") -> dict[str, Any]:
    response = api.client.get(f"{api.url}/{schedule['id']}/fires?{query}")
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def test_a_schedule_that_is_not_due_soon_has_no_fires_yet(api: Api) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    assert _fires(api, schedule) == {"fires": [], "next_cursor": None}


def test_a_delivered_fire_says_when_how_late_and_by_which_run(api: Api, database_url: str) -> None:
    schedule = api.created(interval_seconds=10)
    _write(database_url, PAST_FIRES.format(first=1, last=0), DELIVERED)

    fire = _fires(api, schedule)["fires"][0]
    assert set(fire) == FIRE_KEYS
    assert fire["id"] == f"agent-run-schedule:{schedule['id']}-run-{fire['nominal_at']}"
    assert fire["idempotency_key"] == fire["id"]
    assert (fire["state"], fire["reason"], fire["task_id"]) == ("delivered", None, "task-1")
    assert (fire["dagster_run_id"], fire["attempts"]) == ("run-1", 1)
    assert (fire["lateness_seconds"], fire["reply_excerpt"]) == (0.025, "done")
    assert fire["delivered_at"].endswith("Z")


def test_pages_follow_each_other_without_a_hole_while_fires_come_in(
    api: Api, database_url: str
) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    _write(database_url, PAST_FIRES.format(first=1, last=25))

    seen: list[str] = []
    page = _fires(api, schedule, "limit=10")
    _write(database_url, PAST_FIRES.format(first=26, last=30))
    while True:
        seen += [fire["id"] for fire in page["fires"]]
        if page["next_cursor"] is None:
            break
        page = _fires(api, schedule, f"limit=10&cursor={page['next_cursor']}")

    assert seen == [f"past-{n}" for n in range(25, 0, -1)]


def test_fires_at_the_same_instant_are_each_listed_once(api: Api, database_url: str) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    _write(
        database_url,
        PAST_FIRES.format(first=1, last=5),
        "update fires set forced = true",
        "update fires set nominal_at = '2026-01-01T00:00:00Z'",
    )
    first = _fires(api, schedule, "limit=2")
    second = _fires(api, schedule, f"limit=3&cursor={first['next_cursor']}")
    assert second["next_cursor"] is None
    ids = [fire["id"] for fire in first["fires"] + second["fires"]]
    assert ids == [f"past-{n}" for n in range(1, 6)]


def test_a_page_that_ends_exactly_at_the_end_has_no_next(api: Api, database_url: str) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    _write(database_url, PAST_FIRES.format(first=1, last=10))
    assert _fires(api, schedule, "limit=10")["next_cursor"] is None
    assert len(_fires(api, schedule)["fires"]) == 10
