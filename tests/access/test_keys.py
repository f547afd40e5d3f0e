"""Keys of our own: made once, kept as a hash, judged anew by every request."""

import re
from datetime import timedelta

import pytest

from schedules_pipeline.access.agents import AGENT, AgentsApart, AgentsToo
from schedules_pipeline.access.keys import Keys as Authenticator
from schedules_pipeline.access.keys import Roles
from schedules_pipeline.access.nobody import NobodyAsks
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    Rejected,
    Unauthorized,
)
from schedules_pipeline.services.access_port import (
    Operation,
    Presented,
    Resource,
    ResourceType,
    creator_of,
)
from schedules_pipeline.services.issuing import Keys, table
from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import an_agent, database_now, one, query


def presented(**headers: str) -> Presented:
    return Presented({k.replace("_", "-"): v for k, v in headers.items()}, "192.0.2.1")


def who(store: PostgresStore, key: str) -> JsonObject:
    return Authenticator(store).authenticate(presented(authorization=f"Bearer {key}"))


@pytest.fixture
def keys(store: PostgresStore) -> Keys:
    return Keys(store)


def test_a_key_says_whose_it_is_in_either_header(store: PostgresStore, keys: Keys) -> None:
    made = keys.create("ci", Role.EDITOR, None)
    principal = {"principal_type": "api_key", "user_id": "ci", "role": "editor"}

    assert who(store, made.key) == principal
    authenticate = Authenticator(store).authenticate
    assert authenticate(presented(x_api_key=made.key)) == principal
    assert authenticate(presented(authorization=f"bearer  {made.key} ")) == principal
    # What a gateway in front of us takes for itself is no key of ours.
    assert authenticate(presented(authorization="Basic abc", x_api_key=made.key)) == principal
    assert authenticate(presented(authorization="Bearer ey.a.b", x_api_key=made.key)) == principal


def test_what_is_kept_of_who_asks_names_no_role_and_no_secret(
    store: PostgresStore, keys: Keys
) -> None:
    made = keys.create("ci", Role.EDITOR, None)

    assert creator_of(who(store, made.key)) == {"principal_type": "api_key", "user_id": "ci"}
    assert creator_of({"user_id": 7, "account_id": None, "token": "secret"}) == {}


def test_nothing_in_the_database_or_in_the_list_opens_anything(
    store: PostgresStore, keys: Keys
) -> None:
    made = keys.create("ci", Role.EDITOR, None)
    secret = made.key.rpartition("_")[2]

    kept = repr(query(store, "select * from api_keys")) + repr(
        query(store, "select * from principals")
    )

    assert re.fullmatch(r"sp_[0-9a-f]{16}_[\w-]{43}", made.key)
    assert secret not in kept
    assert secret not in table(keys.list())
    assert one(store, "select key_hash from api_keys") not in table(keys.list())
    for wrong in (one(store, "select key_hash from api_keys"), made.id, secret):
        with pytest.raises(Unauthorized):
            who(store, wrong)


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "sp_0123456789abcdef_x"},
        {"x_api_key": "sp_0123456789abcdef_x"},
        {"x_api_key": "sp_0123456789abcdef_\N{LATIN SMALL LETTER E WITH ACUTE}\0"},
    ],
)
def test_what_is_no_key_is_nobodys(store: PostgresStore, shown: dict[str, str]) -> None:
    with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
        Authenticator(store).authenticate(presented(**shown))


def test_a_wrong_secret_under_a_right_id_opens_nothing(store: PostgresStore, keys: Keys) -> None:
    made, other = (keys.create("ci", Role.ADMIN, None) for _ in range(2))

    with pytest.raises(Unauthorized):
        who(store, f"sp_{made.id}_{other.key.removeprefix(f'sp_{other.id}_')}")


def test_a_revocation_counts_from_the_next_request_on(store: PostgresStore, keys: Keys) -> None:
    first, second = (keys.create("ci", Role.EDITOR, None) for _ in range(2))
    authenticator = Authenticator(store)

    def opens(key: str) -> bool:
        try:
            authenticator.authenticate(presented(x_api_key=key))
        except Unauthorized:
            return False
        return True

    assert opens(first.key)
    assert opens(second.key)
    keys.revoke(first.id)
    assert not opens(first.key)
    assert opens(second.key)
    keys.revoke_principal("ci")
    assert not opens(second.key)


def test_a_key_opens_until_it_expires(store: PostgresStore, keys: Keys) -> None:
    made = keys.create("ci", Role.VIEWER, database_now(store) + timedelta(hours=1))
    assert who(store, made.key)["user_id"] == "ci"

    query(
        store,
        "update api_keys set created_at = created_at - interval '2 hours', "
        "expires_at = expires_at - interval '2 hours' returning id",
    )

    with pytest.raises(Unauthorized):
        who(store, made.key)


def test_a_use_is_noted(store: PostgresStore, keys: Keys) -> None:
    made = keys.create("ci", Role.VIEWER, None)
    who(store, made.key)

    (listed,) = keys.list()
    assert listed.last_used_at is not None


def test_keys_that_make_no_sense_are_not_made(store: PostgresStore, keys: Keys) -> None:
    keys.create("ci", Role.EDITOR, None)
    past = database_now(store) - timedelta(seconds=1)

    with pytest.raises(InvalidInput, match=r"principal: takes letters, digits and \. _ @ -, begi"):
        keys.create("c i", Role.EDITOR, None)
    with pytest.raises(InvalidInput, match="role: principal 'new' is new: say which role it is"):
        keys.create("new", None, None)
    with pytest.raises(InvalidInput, match=r"expires: .* is past; name a later time"):
        keys.create("ci", None, past)
    with pytest.raises(Rejected, match="Principal 'ci' is editor, and stays so: leave the role o"):
        keys.create("ci", Role.ADMIN, None)
    with pytest.raises(NotFound, match="Key 'absent' does not exist; `schedules keys list` names"):
        keys.revoke("absent")
    with pytest.raises(NotFound, match="Principal 'nobody' does not exist; `schedules keys list`"):
        keys.revoke_principal("nobody")
    keys.revoke_principal("ci")
    with pytest.raises(Rejected, match="Principal 'ci' was revoked, for good: name another"):
        keys.create("ci", None, None)
    assert [key.principal for key in keys.list()] == ["ci"]


def test_a_refused_new_principal_is_not_left_behind(store: PostgresStore, keys: Keys) -> None:
    with pytest.raises(InvalidInput):
        keys.create("ci", Role.ADMIN, database_now(store))

    assert query(store, "select * from principals") == []


# --- roles ----------------------------------------------------------------------------------------

AGENT_1, TASK, SCHEDULE = Resource.agent("a"), Resource.task("t"), Resource.schedule("a", "s")
RIGHTS: dict[tuple[Resource, Operation], Role] = {
    (AGENT_1, Operation.READ): Role.VIEWER,
    (AGENT_1, Operation.UPDATE): Role.EDITOR,
    (AGENT_1, Operation.EXECUTE): Role.EDITOR,
    (AGENT_1, Operation.DELETE): Role.ADMIN,
    (Resource.all_agents(), Operation.READ): Role.VIEWER,
    (Resource.all_agents(), Operation.UPDATE): Role.ADMIN,
    (Resource.all_agents(), Operation.CREATE): Role.ADMIN,
    (SCHEDULE, Operation.READ): Role.VIEWER,
    (SCHEDULE, Operation.UPDATE): Role.EDITOR,
    (SCHEDULE, Operation.DELETE): Role.EDITOR,
    (TASK, Operation.READ): Role.VIEWER,
    (TASK, Operation.UPDATE): Role.EDITOR,
    (TASK, Operation.CANCEL): Role.EDITOR,
    (TASK, Operation.DELETE): Role.ADMIN,
    (Resource.task(), Operation.CREATE): Role.EDITOR,
}


@pytest.mark.parametrize(("asked", "least"), RIGHTS.items(), ids=str)
def test_each_right_begins_at_a_role(asked: tuple[Resource, Operation], least: Role) -> None:
    resource, operation = asked
    below = list(Role)[: list(Role).index(least)]

    for role in Role:
        if role not in below:
            Roles().check({"role": role.value}, resource, operation)
            continue
        with pytest.raises(PermissionDenied) as denied:
            Roles().check({"role": role.value}, resource, operation)
        every = resource == Resource.all_agents() and operation is not Operation.CREATE
        what = f"{'all ' if every else ''}{resource.type.value}s"
        assert str(denied.value) == (
            f"The role '{role.value}' may not {operation.value} {what}: it takes '{least.value}'."
        )


def test_a_role_finds_everything_or_is_told_that_it_may_not() -> None:
    assert Roles().search({"role": "viewer"}, ResourceType.SCHEDULE, Operation.READ) is None
    with pytest.raises(PermissionDenied, match="'viewer' may not update schedules: it takes 'ed"):
        Roles().search({"role": "viewer"}, ResourceType.SCHEDULE, Operation.UPDATE)


# --- agents ---------------------------------------------------------------------------------------


def test_an_agent_is_known_by_its_key_until_it_is_deleted(store: PostgresStore) -> None:
    agent = an_agent(store)
    authenticator = AgentsToo(store, NobodyAsks())
    shown = presented(x_agent_api_key=agent.api_key)

    assert authenticator.authenticate(shown) == {
        "principal_type": AGENT,
        "service_account_id": agent.id,
    }
    for wrong in ("", "wrong", agent.id):
        with pytest.raises(Unauthorized, match=r"^Agent Unauthorized$"):
            authenticator.authenticate(presented(x_agent_api_key=wrong))
    query(store, "update agents set status = 'Deleted' returning id")
    with pytest.raises(Unauthorized, match=r"^Agent Unauthorized$"):
        authenticator.authenticate(shown)


class AnAgentsName(NobodyAsks):
    """Says of everybody that they are an agent."""

    def authenticate(self, presented: Presented) -> JsonObject:
        return {"principal_type": AGENT, "service_account_id": "agent-1"}


def test_nobody_but_an_agent_with_its_key_is_taken_for_one(store: PostgresStore) -> None:
    with pytest.raises(Unauthorized):
        AgentsToo(store, AnAgentsName()).authenticate(presented(x_api_key="any"))


def test_whoever_is_no_agent_is_left_to_the_other(store: PostgresStore) -> None:
    apart = AgentsApart(store, Roles())
    viewer: JsonObject = {"role": "viewer"}

    assert AgentsToo(store, NobodyAsks()).authenticate(presented()) == {}
    assert apart.search(viewer, ResourceType.AGENT, Operation.READ) is None
    apart.check(viewer, SCHEDULE, Operation.READ)
    with pytest.raises(PermissionDenied, match="The role 'viewer' may not delete schedules"):
        apart.check(viewer, SCHEDULE, Operation.DELETE)
