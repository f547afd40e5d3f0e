"""`SCHEDULES_AUTH=api_key`: keys of our own say who asks, roles what they may do.

Every request looks its key up: a revocation counts from the next request on.
"""

import hmac
from collections.abc import Collection, Mapping
from enum import StrEnum

from schedules_pipeline.access.nobody import NobodyAsks
from schedules_pipeline.domain.schedule import JsonObject
from schedules_pipeline.errors import PermissionDenied, Unauthorized
from schedules_pipeline.services.access_port import (
    Operation,
    Presented,
    Resource,
    ResourceType,
)
from schedules_pipeline.services.issuing import hash_of, parts_of
from schedules_pipeline.services.principals_port import KeyStanding, Role
from schedules_pipeline.services.store_port import Store, Transaction

API_KEY, AGENT_KEY = "x-api-key", "x-agent-api-key"
NO_HASH = "0" * 64
AGENT = "agent"
"""The role of an agent that shows the key it was given when it registered."""

Right = tuple[ResourceType, Operation]

READ: frozenset[Right] = frozenset((kind, Operation.READ) for kind in ResourceType)
WORK: frozenset[Right] = frozenset(
    {
        (ResourceType.AGENT, Operation.EXECUTE),
        (ResourceType.TASK, Operation.CREATE),
        (ResourceType.TASK, Operation.UPDATE),
        (ResourceType.TASK, Operation.CANCEL),
    }
)
"""To set agents to work, and to say what became of it."""
WRITE: frozenset[Right] = frozenset(
    {
        # To make a schedule is to update its agent, in the contract's words.
        (ResourceType.AGENT, Operation.UPDATE),
        (ResourceType.SCHEDULE, Operation.UPDATE),
        (ResourceType.SCHEDULE, Operation.DELETE),
    }
)
EVERYTHING: frozenset[Right] = frozenset(
    (kind, operation) for kind in ResourceType for operation in Operation
)

RIGHTS: Mapping[str, frozenset[Right]] = {
    Role.VIEWER: READ,
    AGENT: READ | WORK,
    Role.EDITOR: READ | WORK | WRITE,
    Role.ADMIN: EVERYTHING,
}
"""What each role may do. Roles are about all agents and all schedules alike."""


class Scheme(StrEnum):
    """How a principal showed who it is; stored with what it creates."""

    API_KEY = "api_key"
    AGENT = "agent_api_key"


class Keys:
    """Authenticates by `Authorization: Bearer <key>` or `x-api-key`; agents by their own key."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def authenticate(self, presented: Presented) -> JsonObject:
        """See `services.access_port.Authenticator`."""
        agent_key = presented.headers.get(AGENT_KEY)
        if agent_key is not None:
            return agent_of(self._store, agent_key)
        parts = parts_of(_key(presented.headers))
        if parts is None:
            raise Unauthorized
        standing = self._store.run(lambda tx: _judged(tx, *parts))
        return {
            "principal_type": Scheme.API_KEY.value,
            "user_id": standing.principal,
            "role": standing.role.value,
        }


class Roles(NobodyAsks):
    """Authorizes by the role that the key brought. Keeps no records: roles name no single thing."""

    def check(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: PermissionDenied, naming who may."""
        role = str(principal.get("role"))
        if not _may(role, resource, operation):
            raise _denied(role, resource, operation)

    def search(
        self, principal: JsonObject, kind: ResourceType, operation: Operation
    ) -> Collection[str] | None:
        """All or, as an error, none."""
        self.check(principal, Resource(kind, ""), operation)
        return None


def agent_of(store: Store, key: str) -> JsonObject:
    """The principal that an agent is. Errors: Unauthorized."""
    found = store.run(lambda tx: tx.agents.get_by_key_hash(hash_of(key)))
    if found is None:
        raise Unauthorized("Agent Unauthorized")
    return {
        "principal_type": Scheme.AGENT.value,
        "service_account_id": found.id,
        "role": AGENT,
    }


def _key(headers: Mapping[str, str]) -> str:
    """As one of the two headers has it; a scheme other than Bearer is no key."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get(API_KEY, "").strip()


def _judged(tx: Transaction, key_id: str, secret: str) -> KeyStanding:
    standing = tx.principals.standing(key_id)
    # Compared in constant time, and for a key that there is not as well.
    kept = NO_HASH if standing is None else standing.key_hash
    same = hmac.compare_digest(kept, hash_of(secret))
    if standing is None or not same or not standing.valid:
        raise Unauthorized
    if standing.use_unnoted:
        tx.principals.note_use(key_id)
    return standing


def _may(role: str, resource: Resource, operation: Operation) -> bool:
    rights = RIGHTS.get(role, frozenset())
    # What is about all agents at once is an admin's, except to look.
    if resource == Resource.all_agents() and operation is not Operation.READ:
        rights = rights if rights == EVERYTHING else frozenset()
    return (resource.type, operation) in rights


def _denied(role: str, resource: Resource, operation: Operation) -> PermissionDenied:
    who = next(each.value for each in Role if _may(each, resource, operation))
    at_once = " at once" if resource == Resource.all_agents() else ""
    what = f"{resource.type}s{at_once}"
    return PermissionDenied(f"The role '{role}' may not {operation} {what}: it takes '{who}'.")
