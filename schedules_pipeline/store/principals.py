"""Principals and the hashes of their keys."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from schedules_pipeline.services.principals_port import (
    FIRING_ROLES,
    KeyStanding,
    Role,
    StoredKey,
    StoredPrincipal,
)

USE_IS_NOTED = "interval '1 minute'"
"""At most so often: a busy key must not become a hot row."""

LIVE_KEY = """
    k.revoked_at is null and (k.expires_at is null or k.expires_at > statement_timestamp())
"""

STANDING = text(f"""
    select k.key_hash, k.principal, p.role,
           p.revoked_at is null and {LIVE_KEY} as valid,
           coalesce(k.last_used_at < statement_timestamp() - {USE_IS_NOTED}, true) as use_unnoted
    from api_keys k join principals p on p.name = k.principal
    where k.id = :id
""")  # noqa: S608 - constants of ours

MAY_FIRE = text(f"""
    select p.name from principals p
    where p.name = any(:names) and p.role = any(:roles) and p.revoked_at is null
      and exists (select from api_keys k where k.principal = p.name and {LIVE_KEY})
""")  # noqa: S608 - constants of ours


class PostgresPrincipals:
    """See `services.principals_port.PrincipalRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, role: Role) -> bool:
        """False when there is one of that name already."""
        made = self._connection.execute(
            text("""
                insert into principals (name, role) values (:name, :role)
                on conflict do nothing returning 1
            """),
            {"name": name, "role": role.value},
        )
        return made.first() is not None

    def get(self, name: str) -> StoredPrincipal | None:
        """None when there is none of that name."""
        row = self._connection.execute(
            text("select name, role, created_at, revoked_at from principals where name = :name"),
            {"name": name},
        ).first()
        return None if row is None else StoredPrincipal(**{**row._mapping, "role": Role(row.role)})

    def add_key(
        self, key_id: str, principal: str, key_hash: str, expires_at: datetime | None
    ) -> None:
        """Of a principal that there is."""
        self._connection.execute(
            text("""
                insert into api_keys (id, principal, key_hash, expires_at)
                values (:id, :principal, :key_hash, :expires_at)
            """),
            {"id": key_id, "principal": principal, "key_hash": key_hash, "expires_at": expires_at},
        )

    def standing(self, key_id: str) -> KeyStanding | None:
        """Of a key by its id, by the database's clock, now."""
        row = self._connection.execute(STANDING, {"id": key_id}).first()
        return None if row is None else KeyStanding(**{**row._mapping, "role": Role(row.role)})

    def note_use(self, key_id: str) -> None:
        """Of two that note it at once, the second finds it noted."""
        self._connection.execute(
            text(f"""
                update api_keys set last_used_at = statement_timestamp()
                where id = :id and coalesce(
                    last_used_at < statement_timestamp() - {USE_IS_NOTED}, true)
            """),  # noqa: S608 - a constant of ours
            {"id": key_id},
        )

    def keys(self) -> Sequence[StoredKey]:
        """All of them, by principal, oldest first; revoked and expired ones too."""
        rows = self._connection.execute(
            text("""
                select k.id, k.principal, p.role, k.created_at, k.expires_at,
                       coalesce(k.revoked_at, p.revoked_at) as revoked_at, k.last_used_at
                from api_keys k join principals p on p.name = k.principal
                order by k.principal, k.created_at, k.id
            """)
        )
        return [StoredKey(**{**row._mapping, "role": Role(row.role)}) for row in rows]

    def revoke_key(self, key_id: str) -> bool:
        """False when there is no such key. Again: its first revocation stands."""
        return self._found(
            """
            update api_keys set revoked_at = coalesce(revoked_at, statement_timestamp())
            where id = :key returning 1
        """,
            key_id,
        )

    def revoke(self, name: str) -> bool:
        """The principal with all its keys. False when there is none. Again: nothing changes."""
        return self._found(
            """
            update principals set revoked_at = coalesce(revoked_at, statement_timestamp())
            where name = :key returning 1
        """,
            name,
        )

    def may_fire(self, names: Collection[str]) -> set[str]:
        """Those of them whose schedules may fire now; see the port."""
        rows = self._connection.execute(
            MAY_FIRE, {"names": sorted(names), "roles": sorted(FIRING_ROLES)}
        )
        return {row.name for row in rows}

    def _found(self, statement: str, key: str) -> bool:
        return self._connection.execute(text(statement), {"key": key}).first() is not None
