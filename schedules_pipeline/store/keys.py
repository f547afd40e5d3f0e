"""Answers by Idempotency-Key, for 24 hours."""

import psycopg.errors
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from schedules_pipeline.errors import InProgress
from schedules_pipeline.services.stored import Answer

KEPT = "interval '24 hours'"
# What was young enough a statement ago is still found.
FOUND = "interval '24 hours 1 minute'"
PRUNED_AT_ONCE = 1_000

# Waits for whoever inserted this key and has not committed. If they roll back it is ours; if they
# commit, the condition is judged by what they wrote.
BEGIN = text(f"""
    insert into idempotency_keys as k (scope, key, fingerprint)
    values (:scope, :key, :fingerprint)
    on conflict (scope, key) do update
    set fingerprint = excluded.fingerprint, created_at = excluded.created_at,
        status = null, etag = null, body = null
    where k.created_at < statement_timestamp() - {KEPT}
    returning 1
""")  # noqa: S608 - a constant of ours

PRUNE = text(f"""
    delete from idempotency_keys where (scope, key) in (
        select scope, key from idempotency_keys
        where created_at < statement_timestamp() - {KEPT}
        order by created_at limit :most for update skip locked)
""")  # noqa: S608 - a constant of ours


class PostgresKeys:
    """See `services.store_port.KeyRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, scope: str, key: str, fingerprint: str) -> bool:
        """Take the key; False: it has its answer. Errors: InProgress after 3 s of waiting."""
        values = {"scope": scope, "key": key, "fingerprint": fingerprint}
        try:
            return self._connection.execute(BEGIN, values).first() is not None
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise InProgress from None
            raise

    def find(self, scope: str, key: str) -> tuple[str, Answer] | None:
        """The fingerprint and the answer that are kept under this key."""
        row = self._connection.execute(
            text(f"""
                select fingerprint, status, etag, body from idempotency_keys
                where scope = :scope and key = :key and status is not null
                  and created_at >= statement_timestamp() - {FOUND}
            """),  # noqa: S608 - a constant of ours
            {"scope": scope, "key": key},
        ).first()
        if row is None:
            return None
        return row.fingerprint, Answer(status=row.status, etag=row.etag, body=row.body)

    def keep(self, scope: str, key: str, answer: Answer) -> None:
        """Write the answer beside the key that this transaction took."""
        self._connection.execute(
            text("""
                update idempotency_keys set status = :status, etag = :etag, body = :body
                where scope = :scope and key = :key
            """),
            {
                "scope": scope,
                "key": key,
                "status": answer.status,
                "etag": answer.etag,
                "body": answer.body,
            },
        )

    def prune(self) -> None:
        """Forget old ones, a bounded number, and none that another transaction holds."""
        self._connection.execute(PRUNE, {"most": PRUNED_AT_ONCE})
