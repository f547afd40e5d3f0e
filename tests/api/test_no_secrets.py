"""What must stay secret is in no log and in no answer, whatever goes wrong."""

from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from fuzz.serving import Served, served
from tests.api.factories import agent_body, schedule_body

SECRET = "s3cret"
HEADERS = {
    "authorization": f"Bearer {SECRET}",
    "x-api-key": SECRET,
    "x-agent-api-key": SECRET,
    "cookie": f"_identityJwt={SECRET}",
    "idempotency-key": SECRET,
    "x-forwarded-for": SECRET,
    "x-acting-user-api-key": SECRET,
    "proxy-authorization": f"Basic {SECRET}",
}


def _ask(server: Served, method: str, path: str, **more: Any) -> httpx.Response:
    """With the secret in every header, in the query, and in the body."""
    joint = "&" if "?" in path else "?"
    return httpx.request(
        method, f"{server.url}{path}{joint}token={SECRET}", headers=HEADERS, timeout=20, **more
    )


@pytest.fixture
def password_url(own_database_url: str) -> str:
    """The same database by a URL with a password, which the server does not ask for."""
    return own_database_url.replace("postgres@", f"postgres:{SECRET}@")


def test_no_secret_reaches_a_log_or_an_error(
    password_url: str, own_database_url: str, tmp_path: Path
) -> None:
    cursed = {"description": SECRET, "initial_input": {"content": SECRET}}
    with served(password_url, tmp_path) as server:
        agent = httpx.post(f"{server.url}/agents/register", json=agent_body()).json()
        place = f"/agents/{agent['id']}/schedules"
        with psycopg.connect(own_database_url) as connection:
            connection.execute("alter table agent_run_schedules add check (name <> 'cursed')")
        answers = [
            _ask(server, "POST", place, json=schedule_body(name="cursed", **cursed)),
            _ask(server, "POST", place, json=schedule_body(name="NO", **cursed)),
            _ask(server, "POST", place, content=f'{{"name": "{SECRET}'),
            _ask(server, "GET", "/nowhere"),
            _ask(server, "PUT", place),
            _ask(server, "GET", "/schedules?limit=nonsense"),
        ]
        with psycopg.connect(own_database_url) as connection:
            connection.execute("alter table agent_run_schedules rename to gone")
        answers.append(_ask(server, "GET", place))
        assert server.stop() == 0
    assert [answer.status_code for answer in answers] == [500, 422, 422, 404, 405, 422, 503]
    for answer in answers:
        assert SECRET not in f"{answer.headers}{answer.text}"
    log = server.log.read_text()
    assert "Traceback" in log
    assert "CheckViolation" in log
    assert SECRET not in log


@pytest.mark.parametrize("broken", ["@127.0.0.1:1/none", "@no such host/none"])
def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path, broken: str) -> None:
    with served(f"postgresql://user:{SECRET}{broken}", tmp_path) as server:
        for path in ("/readyz", "/agents"):
            answer = httpx.get(f"{server.url}{path}", timeout=20)
            assert answer.status_code == 503
            assert SECRET not in answer.text
        assert server.stop() == 0
    assert SECRET not in server.log.read_text()
