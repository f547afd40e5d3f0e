"""Every route × everybody who may ask × one's own, another's and an absent thing.

The routes are the application's own: one that the table does not know fails, and so does a line of
the table that no route has.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from string import Formatter
from typing import Any, NamedTuple
from uuid import uuid4

import agentex
import httpx
import pytest
from agentex import Agentex
from fastapi import FastAPI
from fastapi.routing import APIRoute

from schedules_pipeline.api.app import ROUTERS
from schedules_pipeline.api.dependencies import UseCases
from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.wiring import Wiring
from tests.api.factories import agent_body, schedule_body
from tests.api.guarded import SAID, Place, Things, a_key, asking, guarded, some_things
from tests.provider import StubProvider

ROUTES = sorted(
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
)


class Ask(NamedTuple):
    """What the provider is asked: to `check` or to `search`."""

    what: str
    kind: str
    operation: str


@dataclass(frozen=True)
class Expected:
    """What a route asks, said once more and independently of the code.

    `least`: the least of the roles that may, under api_key; None: nobody is asked.
    `asks`: what the provider is asked; None: nothing but who this is.
    `query`, `body`: the request's; a function makes its body of the things' ids.
    `then`: what the provider is asked after that.
    `present`: what is answered to who may, when the thing is there.
    `more`: what the provider is told after the check, with the operation it names.
    `agents`: whether an agent's own key opens it, of what is the agent's.
    """

    least: Role | None
    asks: Ask | None = None
    body: Any = None
    query: tuple[str, ...] = ()
    then: tuple[Ask, ...] = ()
    present: int = 200
    more: tuple[tuple[str, ...], ...] = ()
    agents: bool = False


def _check(kind: str, operation: str) -> Ask:
    return Ask("check", kind, operation)


def _search(kind: str, operation: str) -> Ask:
    return Ask("search", kind, operation)


def _with(expected: Expected, body: Any, present: int = 200) -> Expected:
    return replace(expected, body=body, present=present)


VIEWER, EDITOR, ADMIN = Role.VIEWER, Role.EDITOR, Role.ADMIN
ONE = "/agents/{agent_id}/schedules/{schedule_id}"
NAMED = "/agents/{agent_id}/schedules/name/{name}"
FIRE = "/fires/{fire_id}"
MESSAGE = "/messages/{message_id}"
AT = {"scheduled_time": "2090-01-01T00:00:00Z"}
RANGE = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T02:00:00Z"}
BULK = {"filter": {"text": "nothing has this in its name"}}
ON = {"off": False}

READS = Expected(VIEWER, _check("schedule", "read"))
WRITES = Expected(EDITOR, _check("schedule", "update"))
DELETES = replace(
    WRITES, asks=_check("schedule", "delete"), more=(("revoke", "delete"), ("deregister",))
)
CREATES = Expected(
    EDITOR, _check("agent", "update"), "schedule", more=(("register",), ("grant", "create"))
)
LISTS = Expected(VIEWER, _search("schedule", "read"), agents=True)
EDITS_MANY = Expected(EDITOR, _search("schedule", "update"), BULK, agents=True)
READS_AGENT = Expected(VIEWER, _check("agent", "read"), agents=True)
READS_TASK = Expected(VIEWER, _check("task", "read"), agents=True)
ENDS_TASK = Expected(EDITOR, _check("task", "update"), agents=True)
READS_SAID = replace(READS_TASK, query=("task_id",))


def _says(values: Mapping[str, str]) -> Any:
    return {"task_id": values["task_id"], "content": SAID}


def _says_much(values: Mapping[str, str]) -> Any:
    return {"task_id": values["task_id"], "contents": [SAID]}


def _rewrites(values: Mapping[str, str]) -> Any:
    return {"task_id": values["task_id"], "updates": {values["message_id"]: SAID}}


def _sends(values: Mapping[str, str]) -> Any:
    return {"method": "event/send", "params": {"task_id": values["task_id"], "content": SAID}}


# One of the methods; `test_rpc_access` has them all.
CALLS = Expected(EDITOR, _check("agent", "execute"), body=_sends, then=(_check("task", "update"),))

TABLE: dict[Place, Expected] = {
    ("GET", "/healthz"): Expected(None),
    ("GET", "/readyz"): Expected(None),
    ("POST", "/agents/register"): Expected(None, body="agent"),
    ("GET", "/agents"): replace(LISTS, asks=_search("agent", "read")),
    ("GET", "/agents/{agent_id}"): READS_AGENT,
    ("GET", "/agents/name/{agent_name}"): READS_AGENT,
    ("POST", "/agents/{agent_id}/rpc"): CALLS,
    ("POST", "/agents/name/{agent_name}/rpc"): CALLS,
    ("GET", "/clock"): Expected(VIEWER, agents=True),
    ("PUT", "/clock"): Expected(ADMIN, _check("agent", "update"), ON),
    ("GET", "/agents/{agent_id}/clock"): READS_AGENT,
    ("PUT", "/agents/{agent_id}/clock"): Expected(EDITOR, _check("agent", "update"), ON),
    ("POST", "/agents/{agent_id}/schedules"): CREATES,
    ("GET", "/agents/{agent_id}/schedules"): LISTS,
    ("GET", ONE): READS,
    ("GET", NAMED): READS,
    ("PATCH", ONE): _with(WRITES, {"description": "new"}),
    ("PATCH", NAMED): _with(WRITES, {"description": "new"}),
    ("DELETE", ONE): DELETES,
    ("DELETE", NAMED): DELETES,
    ("POST", f"{ONE}/pause"): WRITES,
    ("POST", f"{NAMED}/pause"): WRITES,
    ("POST", f"{ONE}/resume"): WRITES,
    ("POST", f"{NAMED}/resume"): WRITES,
    ("POST", f"{ONE}/trigger"): WRITES,
    ("POST", f"{NAMED}/trigger"): WRITES,
    ("POST", f"{ONE}/skip"): _with(WRITES, AT),
    # It is not skipped: well asked, and refused for its state. So is the redrive below.
    ("POST", f"{ONE}/unskip"): _with(WRITES, AT, present=400),
    ("POST", f"{ONE}/backfill"): _with(WRITES, RANGE),
    ("POST", f"{NAMED}/backfill"): _with(WRITES, RANGE),
    ("GET", f"{ONE}/occurrences"): READS,
    ("GET", f"{ONE}/fires"): READS,
    ("GET", f"{ONE}/history"): READS,
    ("GET", f"{ONE}/audit"): READS,
    ("GET", f"{NAMED}/audit"): READS,
    ("GET", "/schedules"): LISTS,
    ("POST", "/schedules/pause"): EDITS_MANY,
    ("POST", "/schedules/resume"): EDITS_MANY,
    ("POST", "/schedules/preview"): Expected(VIEWER, body={"interval_seconds": 60}, agents=True),
    ("GET", "/backfills/{backfill_id}"): READS,
    ("GET", "/fires"): LISTS,
    ("GET", "/fires/overdue"): LISTS,
    ("GET", FIRE): READS,
    ("POST", f"{FIRE}/redrive"): _with(WRITES, None, present=400),
    ("GET", "/tasks"): replace(LISTS, asks=_search("task", "read")),
    ("GET", "/tasks/{task_id}"): READS_TASK,
    ("GET", "/tasks/name/{task_name:path}"): READS_TASK,
    ("PUT", "/tasks/{task_id}"): _with(ENDS_TASK, {"merge_params": {"a": 1}}),
    ("PUT", "/tasks/name/{task_name:path}"): _with(ENDS_TASK, {"merge_params": {"a": 1}}),
    ("POST", "/tasks/{task_id}/complete"): ENDS_TASK,
    ("POST", "/tasks/{task_id}/fail"): ENDS_TASK,
    ("POST", "/tasks/{task_id}/cancel"): replace(ENDS_TASK, asks=_check("task", "cancel")),
    ("POST", "/tasks/{task_id}/terminate"): ENDS_TASK,
    ("POST", "/tasks/{task_id}/timeout"): ENDS_TASK,
    ("POST", "/tasks/{task_id}/interrupt"): ENDS_TASK,
    ("GET", "/events"): replace(READS_SAID, query=("task_id", "agent_id")),
    ("GET", "/events/{event_id}"): READS_TASK,
    ("GET", "/messages"): READS_SAID,
    ("GET", "/messages/paginated"): READS_SAID,
    ("GET", MESSAGE): READS_TASK,
    ("POST", "/messages"): _with(ENDS_TASK, _says),
    ("POST", "/messages/batch"): _with(ENDS_TASK, _says_much),
    ("PUT", "/messages/batch"): _with(ENDS_TASK, _rewrites),
    ("PUT", MESSAGE): _with(ENDS_TASK, _says),
}
ABSENT = dict.fromkeys(
    (
        "agent_id",
        "agent_name",
        "schedule_id",
        "name",
        "fire_id",
        "backfill_id",
        "task_id",
        "task_name",
        "event_id",
        "message_id",
    ),
    "absent",
)
# What is asked about by its id is not looked up before; the rest has to be.
LOOKED_UP = ("{name}", "{fire_id", "{backfill_id}", "{task_name", "{agent_name}")


def _routes(chosen: Callable[[Place, Expected], bool]) -> pytest.MarkDecorator:
    """One test for each of them. A route that the table does not know is in every choice."""
    places = [place for place in ROUTES if place not in TABLE or chosen(place, TABLE[place])]
    return pytest.mark.parametrize("place", places, ids=" ".join)


def _is_about_one(place: Place) -> bool:
    """A list below an agent is filtered, not refused."""
    named = [name for _, name, _, _ in Formatter().parse(place[1]) if name]
    expected = TABLE[place]
    return bool(named or expected.query or callable(expected.body)) and place != (
        "GET",
        "/agents/{agent_id}/schedules",
    )


def _asks_to(what: str, expected: Expected) -> bool:
    return expected.asks is not None and expected.asks.what == what


EVERY_ROUTE = _routes(lambda _place, _expected: True)
ABOUT_ONE = _routes(lambda place, _expected: _is_about_one(place))
CHECKED = _routes(lambda place, expected: _is_about_one(place) and _asks_to("check", expected))
CHANGING = _routes(
    lambda _place, x: _asks_to("check", x) and x.asks is not None and x.asks.operation != "read"
)
LISTING = _routes(lambda place, expected: place[0] == "GET" and _asks_to("search", expected))


class Asking:
    """Puts a route's question."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def __call__(
        self, place: Place, values: Mapping[str, str], headers: dict[str, str]
    ) -> httpx.Response:
        method, path = place
        body = TABLE[place].body
        if body == "agent":
            body = agent_body(name=f"new-{uuid4().hex}")
        if body == "schedule":
            body = schedule_body(name=f"new-{uuid4().hex}")
        if callable(body):
            body = body(values)
        given = {} if body is None else {"json": body}
        query = {name: values[name] for name in TABLE[place].query}
        url = path.replace(":path", "").format(**values)
        return self.http.request(method, url, headers=headers, params=query, **given)


@pytest.fixture
def ask(http: httpx.Client) -> Asking:
    return Asking(http)


def test_the_table_names_every_route_of_the_application_and_no_other() -> None:
    assert sorted(TABLE) == ROUTES


# --- api_key --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def module_keyed(app: FastAPI, module_database_url: str) -> Iterator[Wiring]:
    with guarded(app, module_database_url, auth="api_key") as wiring:
        yield wiring


@pytest.fixture
def keyed(app: FastAPI, module_keyed: Wiring) -> Wiring:
    app.state.use_cases = UseCases.of(module_keyed)
    return module_keyed


@pytest.fixture(scope="module")
def headers(module_keyed: Wiring) -> dict[Role, dict[str, str]]:
    """A key of each role."""
    return {role: a_key(module_keyed, role) for role in Role}


def _may(role: Role, place: Place) -> bool:
    least, roles = TABLE[place].least, list(Role)
    return least is None or roles.index(role) >= roles.index(least)


@EVERY_ROUTE
def test_who_does_not_say_who_they_are_is_told_nothing(
    place: Place, keyed: Wiring, ask: Asking
) -> None:
    things = some_things(keyed)

    for values in (things.values, ABSENT):
        for shown in ({}, {"authorization": "Bearer sp_0123456789abcdef_wrong"}):
            answer = ask(place, values, {**shown, "x-forwarded-for": uuid4().hex})
            if TABLE[place].least is None:
                assert answer.status_code == 200, answer.text
            else:
                assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"})


@EVERY_ROUTE
@pytest.mark.parametrize("role", Role)
def test_a_role_opens_what_is_there_or_is_refused_with_403(
    place: Place, role: Role, keyed: Wiring, headers: dict[Role, dict[str, str]], ask: Asking
) -> None:
    """Roles are about everything alike: what another made is like what one made oneself."""
    answer = ask(place, some_things(keyed).values, headers[role])

    if _may(role, place):
        assert answer.status_code == TABLE[place].present, answer.text
    else:
        assert answer.status_code == 403
        assert answer.json()["message"].startswith(f"The role '{role.value}' may not ")
        assert answer.json()["message"].endswith(f": it takes '{TABLE[place].least}'.")


@ABOUT_ONE
@pytest.mark.parametrize("role", Role)
def test_what_is_absent_is_404_to_who_may_and_no_more_than_that_to_others(
    place: Place, role: Role, keyed: Wiring, headers: dict[Role, dict[str, str]], ask: Asking
) -> None:
    answer = ask(place, ABSENT, headers[role])

    looked_up = any(part in place[1] for part in LOOKED_UP)
    assert answer.status_code == (404 if _may(role, place) or looked_up else 403), answer.text


@EVERY_ROUTE
def test_an_agents_key_opens_the_agent_and_its_tasks(
    place: Place, keyed: Wiring, ask: Asking
) -> None:
    own, expected = some_things(keyed), TABLE[place]

    mine = ask(place, own.values, {"x-agent-api-key": own.agent_key})

    if expected.least is None or expected.agents:
        assert mine.status_code == expected.present, mine.text
    else:
        assert mine.status_code in (403, 404), mine.text


@ABOUT_ONE
def test_an_agents_key_opens_nothing_of_another_agent(
    place: Place, keyed: Wiring, ask: Asking
) -> None:
    own, others = some_things(keyed), some_things(keyed)

    for values in (others.values, ABSENT):
        answer = ask(place, values, {"x-agent-api-key": own.agent_key})
        assert answer.status_code in (403, 404), answer.text


# --- agentex --------------------------------------------------------------------------------------


@pytest.fixture
def asked(app: FastAPI, module_database_url: str, provider: StubProvider) -> Iterator[Wiring]:
    with asking(app, module_database_url, provider) as wiring:
        yield wiring


def _asks(place: Place) -> Ask:
    asks = TABLE[place].asks
    assert asks is not None
    return asks


def _resource(place: Place, things: Things, asks: Ask | None = None) -> str:
    """What the check is about."""
    if place == ("PUT", "/clock"):
        return "agent:*"
    kind = (asks or _asks(place)).kind
    return f"{kind}:{things.selector(kind)}"


def _right(place: Place, things: Things, operation: str) -> tuple[str, str, str]:
    kind, _, selector = _resource(place, things).partition(":")
    return (kind, selector, operation)


def _sequence(place: Place, things: Things, answer: httpx.Response) -> list[tuple[str, ...]]:
    expected = TABLE[place]
    if expected.least is None:
        return []
    if expected.asks is None:
        return [("authn",)]
    if expected.asks.what == "search":
        return [("authn",), expected.asks]
    check = ("check", _resource(place, things), expected.asks.operation)
    then = [("check", _resource(place, things, ask), ask.operation) for ask in expected.then]
    if not expected.more:
        return [("authn",), check, *then]
    about = f"schedule:run-schedule::{things.agent_id}::{answer.json().get('id')}"
    told = [(what, about, *operation) for what, *operation in expected.more]
    return [("authn",), check, *told]


@EVERY_ROUTE
def test_the_provider_is_asked_exactly_what_the_contract_says(
    place: Place, asked: Wiring, provider: StubProvider, ask: Asking
) -> None:
    """By the owner: one authentication, one check or search, and what comes after it."""
    things, user = some_things(asked), uuid4().hex
    asks, then = TABLE[place].asks, TABLE[place].then
    rights = [] if asks is None else [_right(place, things, asks.operation)]
    more = [(ask.kind, things.selector(ask.kind), ask.operation) for ask in then]
    provider.knows(user, *rights, *more)

    answer = ask(place, things.values, {"x-user": user})

    assert answer.status_code == TABLE[place].present, answer.text
    assert provider.asked() == _sequence(place, things, answer)


@CHANGING
def test_who_may_only_look_is_refused_with_403_and_the_providers_words(
    place: Place, asked: Wiring, provider: StubProvider, ask: Asking
) -> None:
    things, user = some_things(asked), uuid4().hex
    provider.knows(user, _right(place, things, "read"))

    answer = ask(place, things.values, {"x-user": user})

    assert answer.status_code == 403, answer.text
    assert answer.json() == {"message": "The provider says no", "code": 403, "data": None}
    about = _resource(place, things)
    # All agents together are no secret: nobody has to be asked whether they may be seen.
    seen = [] if about == "agent:*" else [("check", about, "read")]
    assert provider.asked() == [("authn",), ("check", about, _asks(place).operation), *seen]


@CHECKED
def test_what_is_anothers_looks_like_what_is_absent(
    place: Place, asked: Wiring, provider: StubProvider, ask: Asking
) -> None:
    things, user = some_things(asked), uuid4().hex
    provider.knows(user)

    others = ask(place, things.values, {"x-user": user})
    absent = ask(place, ABSENT, {"x-user": user})

    assert (others.status_code, absent.status_code) == (404, 404), (others.text, absent.text)
    told = others.text
    for name, value in sorted(things.values.items(), key=lambda item: -len(item[1])):
        told = told.replace(value, ABSENT[name])
    assert told == absent.text


@LISTING
def test_a_list_shows_ones_own_alone_and_a_limit_is_filled_with_them(
    place: Place, asked: Wiring, provider: StubProvider, ask: Asking
) -> None:
    """Others' things would fill the page if it were cut before it is filtered."""
    kind = _asks(place).kind
    older, own, newer = (some_things(asked) for _ in range(3))
    user, stranger, everything = (uuid4().hex for _ in range(3))
    provider.knows(user, (kind, own.selector(kind), "read"))
    provider.knows(stranger)
    provider.knows(everything)
    provider.unscoped.add(everything)

    def shown(who: str, limit: int) -> str:
        path = place[1].format(**own.values)
        answer = ask.http.get(path, params={"limit": limit}, headers={"x-user": who})
        assert answer.status_code == 200, answer.text
        return answer.text

    assert own.agent_id in shown(user, 1)
    for others in (older, newer):
        assert others.agent_id not in shown(user, 1_000)
    assert own.agent_id not in shown(stranger, 1_000)
    assert own.agent_id in shown(everything, 1_000)


# --- the published client -------------------------------------------------------------------------


def test_the_published_client_maps_what_is_refused_to_its_own_errors(
    keyed: Wiring, headers: dict[Role, dict[str, str]], base_url: str
) -> None:
    things = some_things(keyed)
    schedule, agent = things.schedule_id, things.agent_id

    def client(header: dict[str, str]) -> Agentex:
        key = header.get("authorization", "").removeprefix("Bearer ")
        return Agentex(base_url=base_url, api_key=key or "sp_wrong", max_retries=0)

    with client(headers[VIEWER]) as viewer, client(headers[EDITOR]) as editor, client({}) as wrong:
        assert viewer.agents.schedules.retrieve(schedule, agent_id=agent).id == schedule
        with pytest.raises(agentex.PermissionDeniedError) as denied:
            viewer.agents.schedules.pause(schedule, agent_id=agent)
        assert editor.agents.schedules.pause(schedule, agent_id=agent).state == "PAUSED"
        with pytest.raises(agentex.AuthenticationError) as nobody:
            wrong.agents.schedules.retrieve(schedule, agent_id=agent)

    assert denied.value.body == {
        "message": "The role 'viewer' may not update schedules: it takes 'editor'.",
        "code": 403,
        "data": None,
    }
    assert nobody.value.body == {"detail": "Unauthorized"}
