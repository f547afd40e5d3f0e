"""Who may use this API under `SCHEDULES_AUTH=api_key`, as the database keeps it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """What a principal may do: read; change schedules and tasks too; everything."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


FIRING_ROLES = frozenset({Role.EDITOR, Role.ADMIN})
"""Whose schedules fire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrincipal:
    """A person or a program. One that is revoked may do nothing more, whatever keys it has."""

    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """One of a principal's keys, as it is listed: nothing that opens anything."""

    id: str
    principal: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStanding:
    """What a key that is presented is judged by; `valid`: neither it nor its principal is revoked,
    and it has not expired. `use_unnoted`: its last use was noted more than a minute ago.
    """

    key_hash: str
    principal: str
    role: Role
    valid: bool
    use_unnoted: bool


class PrincipalRepository(Protocol):
    """Principals and their keys."""

    def create(self, name: str, role: Role) -> bool:
        """False when there is one of that name already."""

    def get(self, name: str) -> StoredPrincipal | None: ...

    def add_key(
        self, key_id: str, principal: str, key_hash: str, expires_at: datetime | None
    ) -> None:
        """Of a principal that there is."""

    def standing(self, key_id: str) -> KeyStanding | None:
        """Of a key by its id, by the database's clock, now."""

    def note_use(self, key_id: str) -> None: ...

    def keys(self) -> Sequence[StoredKey]:
        """All of them, by principal, oldest first; revoked and expired ones too."""

    def revoke_key(self, key_id: str) -> bool:
        """False when there is no such key. Again: its first revocation stands."""

    def revoke(self, name: str) -> bool:
        """The principal with all its keys. False when there is none. Again: nothing changes."""

    def may_fire(self, names: Collection[str]) -> set[str]:
        """Those of them whose schedules may fire now: editors and admins that are not revoked and
        have a key that is neither revoked nor expired.
        """
