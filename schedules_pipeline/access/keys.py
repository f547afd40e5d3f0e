"""`SCHEDULES_AUTH=api_key`: keys of our own say who asks, roles what they may do.

Every request looks its key up: a revocation counts from the next request on.
"""

import hmac
from collections.abc import Collection, Mapping

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

HEADER = "x-api-key"
PRINCIPAL_TYPE = "api_key"
NO_HASH = "0" * 64

Right = tuple[ResourceType, Operation]

READ: frozenset[Right] = frozenset((kind, Operation.READ) for kind in ResourceType)
WRITE: frozenset[Right] = frozenset(
    {
        # To make a schedule is to update its agent, in the contract's words.
        (ResourceType.AGENT, Operation.UPDATE),
        (ResourceType.AGENT, Operation.EXECUTE),
        (ResourceType.SCHEDULE, Operation.UPDATE),
        (ResourceType.SCHEDULE, Operation.DELETE),
        (ResourceType.TASK, Operation.CREATE),
        (ResourceType.TASK, Operation.UPDATE),
        (ResourceType.TASK, Operation.CANCEL),
    }
)
EVERYTHING: frozenset[Right] = frozenset(
    (kind, operation) for kind in ResourceType for operation in Operation
)

RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: READ,
    Role.EDITOR: READ | WRITE,
    Role.ADMIN: EVERYTHING,
}
"""What each role may do. Roles are about all agents and all schedules alike."""


class Keys:
    """Authenticates by `Authorization: Bearer <key>` or `x-api-key`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def authenticate(self, presented: Presented) -> JsonObject:
        """See `services.access_port.Authenticator`."""
        parts = _parts(presented.headers)
        if parts is None:
            raise Unauthorized
        standing = self._store.run(lambda tx: _judged(tx, *parts))
        return {
            "principal_type": PRINCIPAL_TYPE,
            "user_id": standing.principal,
            "role": standing.role.value,
        }


class Roles(NobodyAsks):
    """Authorizes by the role that the key brought. Keeps no records: roles name no single thing."""

    def check(self, principal: JsonObject, resource: Resource, operation: Operation) -> None:
        """Errors: PermissionDenied, naming who may."""
        role = Role(principal["role"])
        if not _may(role, resource, operation):
            raise _denied(role, resource, operation)

    def search(
        self, principal: JsonObject, kind: ResourceType, operation: Operation
    ) -> Collection[str] | None:
        """All or, as an error, none."""
        self.check(principal, Resource(kind, ""), operation)
        return None


def _parts(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Of the first of the two headers that carries a key of ours."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token if scheme.lower() == "bearer" else ""
    return parts_of(bearer.strip()) or parts_of(headers.get(HEADER, "").strip())


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


def _may(role: Role, resource: Resource, operation: Operation) -> bool:
    # What changes all agents at once is an admin's.
    if resource == Resource.all_agents() and operation is not Operation.READ:
        return role is Role.ADMIN
    return (resource.type, operation) in RIGHTS[role]


def _denied(role: Role, resource: Resource, operation: Operation) -> PermissionDenied:
    who = next(each.value for each in Role if _may(each, resource, operation))
    every = resource == Resource.all_agents() and operation is not Operation.CREATE
    what = f"{'all ' if every else ''}{resource.type}s"
    return PermissionDenied(
        f"The role '{role.value}' may not {operation} {what}: it takes '{who}'."
    )
