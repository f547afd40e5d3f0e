"""Principals and the hashes of their keys: what the database keeps, and what it refuses."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from schedules_pipeline.services.principals_port import Role
from schedules_pipeline.services.store_port import Transaction
from schedules_pipeline.store.unit_of_work import PostgresStore

HASH = sha256(b"secret").hexdigest()
LATER = datetime(2090, 1, 1, tzinfo=UTC)


def add(store: PostgresStore, name: str, role: Role, *key_ids: str) -> None:
    """A principal with keys that do not expire."""

    def work(tx: Transaction) -> None:
        tx.principals.create(name, role)
        for key_id in key_ids:
            tx.principals.add_key(key_id, name, sha256(key_id.encode()).hexdigest(), None)

    store.run(work)


def expire(store: PostgresStore, key_id: str) -> None:
    """As if it had been made an hour ago, for half an hour."""
    store.on_connection(
        lambda connection: connection.execute(
            text("""
                update api_keys set created_at = created_at - interval '1 hour',
                    expires_at = created_at - interval '30 minutes' where id = :id
            """),
            {"id": key_id},
        )
    )


def test_a_name_is_one_principals(store: PostgresStore) -> None:
    assert store.run(lambda tx: tx.principals.create("ci", Role.EDITOR))
    assert not store.run(lambda tx: tx.principals.create("ci", Role.ADMIN))

    kept = store.run(lambda tx: tx.principals.get("ci"))

    assert kept is not None
    assert (kept.role, kept.revoked_at) == (Role.EDITOR, None)
    assert store.run(lambda tx: tx.principals.get("nobody")) is None


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("insert into principals (name, role) values ('ci', 'owner')", "a_role_is_known"),
        ("insert into principals (name, role) values ('', 'admin')", "a_principal_is_named"),
        ("insert into principals (name, role) values (E'a\\nb', 'admin')", "a_principal_is_named"),
        (
            "insert into api_keys (id, principal, key_hash) values ('k', 'x', 'sp_secret')",
            "a_key_is_only_a_hash",
        ),
        (
            f"insert into api_keys (id, principal, key_hash) values ('k', 'nobody', '{HASH}')",
            "api_keys_principal_fkey",
        ),
        (
            "insert into api_keys (id, principal, key_hash, expires_at) "
            f"values ('k', 'x', '{HASH}', now())",
            "expires_after_creation",
        ),
    ],
)
def test_the_database_refuses_what_makes_no_sense(
    store: PostgresStore, statement: str, constraint: str
) -> None:
    store.run(lambda tx: tx.principals.create("x", Role.VIEWER))

    with pytest.raises(IntegrityError, match=constraint):
        store.on_connection(lambda connection: connection.execute(text(statement)))


def test_two_keys_never_have_one_hash(store: PostgresStore) -> None:
    store.run(lambda tx: tx.principals.create("x", Role.VIEWER))
    store.run(lambda tx: tx.principals.add_key("one", "x", HASH, None))

    with pytest.raises(IntegrityError, match="api_keys_key_hash_key"):
        store.run(lambda tx: tx.principals.add_key("two", "x", HASH, None))


def test_a_key_is_valid_until_it_or_its_principal_is_revoked_or_it_expires(
    store: PostgresStore,
) -> None:
    add(store, "ci", Role.EDITOR, "live", "revoked", "expired")
    add(store, "gone", Role.EDITOR, "principals")
    store.run(lambda tx: tx.principals.revoke_key("revoked"))
    store.run(lambda tx: tx.principals.revoke("gone"))
    expire(store, "expired")

    def valid(key_id: str) -> bool:
        standing = store.run(lambda tx: tx.principals.standing(key_id))
        assert standing is not None
        return standing.valid

    keys = ("live", "revoked", "expired", "principals")
    assert {key for key in keys if valid(key)} == {"live"}
    assert store.run(lambda tx: tx.principals.standing("absent")) is None


def test_a_revocation_stands_as_it_was_first_said(store: PostgresStore) -> None:
    add(store, "ci", Role.EDITOR, "key")
    assert store.run(lambda tx: tx.principals.revoke_key("key"))
    (first,) = store.run(lambda tx: tx.principals.keys())

    assert store.run(lambda tx: tx.principals.revoke_key("key"))
    assert store.run(lambda tx: tx.principals.revoke("ci"))

    assert store.run(lambda tx: tx.principals.keys()) == [first]
    assert not store.run(lambda tx: tx.principals.revoke_key("absent"))
    assert not store.run(lambda tx: tx.principals.revoke("nobody"))


def test_a_use_is_noted_once_a_minute(store: PostgresStore) -> None:
    add(store, "ci", Role.EDITOR, "key")

    def note() -> datetime | None:
        store.run(lambda tx: tx.principals.note_use("key"))
        (key,) = store.run(lambda tx: tx.principals.keys())
        return key.last_used_at

    first = note()
    standing = store.run(lambda tx: tx.principals.standing("key"))

    assert first is not None
    assert standing is not None
    assert not standing.use_unnoted
    assert note() == first
    store.on_connection(
        lambda connection: connection.execute(
            text("update api_keys set last_used_at = last_used_at - interval '61 seconds'")
        )
    )
    again = note()
    assert again is not None
    assert again >= first


def test_those_may_fire_that_may_write_and_have_a_key_that_opens(store: PostgresStore) -> None:
    for role in Role:
        add(store, f"{role}s", role, f"{role}-key")
    add(store, "without-a-key", Role.EDITOR)
    add(store, "revoked", Role.EDITOR, "revoked-key")
    add(store, "one-of-two-revoked", Role.EDITOR, "first", "second")
    add(store, "all-expired", Role.EDITOR, "old")
    store.run(lambda tx: tx.principals.revoke("revoked"))
    store.run(lambda tx: tx.principals.revoke_key("first"))
    expire(store, "old")

    everybody = [
        *(f"{role}s" for role in Role),
        "without-a-key",
        "revoked",
        "one-of-two-revoked",
        "all-expired",
        "nobody",
    ]

    may = store.run(lambda tx: tx.principals.may_fire(everybody))
    assert may == {"editors", "admins", "one-of-two-revoked"}
    assert store.run(lambda tx: tx.principals.may_fire(["admins"])) == {"admins"}


def test_keys_are_listed_by_principal(store: PostgresStore) -> None:
    add(store, "b", Role.VIEWER, "k1")
    add(store, "a", Role.ADMIN, "k2")
    expires = LATER + timedelta(seconds=1)
    store.run(lambda tx: tx.principals.add_key("k3", "a", HASH, expires))

    listed = store.run(lambda tx: tx.principals.keys())

    assert [(key.id, key.principal, key.role) for key in listed] == [
        ("k2", "a", Role.ADMIN),
        ("k3", "a", Role.ADMIN),
        ("k1", "b", Role.VIEWER),
    ]
    assert [key.expires_at for key in listed] == [None, expires, None]
