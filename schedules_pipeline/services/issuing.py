"""Keys to this API: made, listed, revoked. The secret is shown once and only its hash is kept.

A key is `sp_<id>_<secret>`: the id finds its row, the secret (256 random bits) opens.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from schedules_pipeline.errors import InvalidInput, NotFound, Rejected
from schedules_pipeline.services.principals_port import Role, StoredKey
from schedules_pipeline.services.store_port import Store, Transaction

PREFIX = "sp"
ID_BYTES, SECRET_BYTES = 8, 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * ID_BYTES}}})_([A-Za-z0-9_-]{{1,100}})")


def hash_of(secret: str) -> str:
    """What is kept of a secret. It is random and long: no salt and no slow hash would add to it."""
    return sha256(secret.encode()).hexdigest()


def parts_of(key: str) -> tuple[str, str] | None:
    """A key's id and secret; None: it is none of ours."""
    found = KEY.fullmatch(key)
    return None if found is None else (found[1], found[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A new key. `key` is not kept anywhere: whoever loses it needs another."""

    id: str
    key: str
    principal: str
    role: Role


class Keys:
    """What an operator does with keys."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, principal: str, role: Role | None, expires_at: datetime | None) -> IssuedKey:
        """One more key of a principal, who is made if there is none of that name.

        Errors: InvalidInput (the name, the role of a new one, an expiry that is past); Rejected
        (the principal has another role, or is revoked).
        """
        if not NAME.fullmatch(principal):
            raise InvalidInput(
                "principal",
                "takes letters, digits and . _ @ -, begins with a letter or digit, "
                "and is at most 128 long",
            )
        key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)

        def create(tx: Transaction) -> Role:
            if expires_at is not None and expires_at <= tx.now():
                raise InvalidInput(
                    "expires", f"{expires_at.isoformat()} is past; name a later time"
                )
            has = _principal(tx, principal, role)
            tx.principals.add_key(key_id, principal, hash_of(secret), expires_at)
            return has

        return IssuedKey(
            id=key_id,
            key=f"{PREFIX}_{key_id}_{secret}",
            principal=principal,
            role=self._store.run(create),
        )

    def list(self) -> Sequence[StoredKey]:
        """All of them, by principal, oldest first."""
        return self._store.run(lambda tx: tx.principals.keys())

    def revoke(self, key_id: str) -> None:
        """It opens nothing from now on. Errors: NotFound."""
        if not self._store.run(lambda tx: tx.principals.revoke_key(key_id)):
            raise NotFound(
                f"Key '{key_id}' does not exist; `schedules keys list` names them by id."
            )

    def revoke_principal(self, name: str) -> None:
        """None of its keys opens anything from now on, nor do its schedules fire.

        Errors: NotFound.
        """
        if not self._store.run(lambda tx: tx.principals.revoke(name)):
            raise NotFound(f"Principal '{name}' does not exist; `schedules keys list` names them.")


HEAD = ("id", "principal", "role", "created", "expires", "revoked", "last used")


def table(keys: Sequence[StoredKey]) -> str:
    """As people read it in a terminal."""
    rows: list[tuple[str, ...]] = [HEAD]
    rows += [
        (
            key.id,
            key.principal,
            key.role.value,
            *map(_said, (key.created_at, key.expires_at, key.revoked_at, key.last_used_at)),
        )
        for key in keys
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _said(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _principal(tx: Transaction, name: str, role: Role | None) -> Role:
    """Make it, or find it as it should be; returns its role."""
    if role is not None and tx.principals.create(name, role):
        return role
    found = tx.principals.get(name)
    if found is None:
        raise InvalidInput("role", f"principal '{name}' is new: say which role it is to have")
    if found.revoked_at is not None:
        raise Rejected(f"Principal '{name}' was revoked, for good: name another.")
    if role not in (None, found.role):
        raise Rejected(
            f"Principal '{name}' is {found.role}, and stays so: leave the role out, or name "
            "another principal."
        )
    return found.role
