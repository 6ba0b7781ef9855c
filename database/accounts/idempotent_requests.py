"""Answers to HTTP requests with an Idempotency-Key, which a repeated request gets again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select, update

from database.engine import Database
from database.models import idempotent_requests as requests


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """What is stored for a key.

    Attributes:
        digest: of the first request with this key, SHA-256 in hexadecimal.
        status: of its response; None while it is not answered, or was not because of a crash.
        response: its body.
    """

    digest: str
    status: int | None
    response: str | None = field(repr=False)


class IdempotentRequests:
    """Reads and writes them. Methods raise DatabaseUnavailableError without database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self, user_id: str | None, key: str, digest: str, *, now: datetime
    ) -> StoredResponse | None:
        """Note a new request; return None for it, and for a repeated key what is stored."""
        row = {"key": _key(user_id, key), "digest": digest, "created_at": now}
        added = (
            self._database.insert(requests)
            .values(row)
            .on_conflict_do_nothing()
            .returning(requests.c.key)
        )
        query = select(requests.c.digest, requests.c.status, requests.c.response)
        while True:
            with self._database.write() as connection:
                if connection.execute(added).first() is not None:
                    return None
                found = connection.execute(query.where(requests.c.key == row["key"])).first()
            if found is not None:  # else it was deleted at this moment
                return StoredResponse(**found._mapping)

    def finish(self, user_id: str | None, key: str, *, status: int, response: str) -> None:
        """Store the response; the first one stays."""
        is_open = (requests.c.key == _key(user_id, key)) & requests.c.status.is_(None)
        with self._database.write() as connection:
            connection.execute(
                update(requests).where(is_open).values(status=status, response=response)
            )

    def forget(self, user_id: str | None, key: str) -> None:
        """Delete what is stored for a key, so that it can be used again: its request did nothing."""
        with self._database.write() as connection:
            connection.execute(delete(requests).where(requests.c.key == _key(user_id, key)))

    def purge(self, before: datetime) -> int:
        """Delete what was stored before then, and return how many."""
        with self._database.write() as connection:
            return connection.execute(
                delete(requests).where(requests.c.created_at < before)
            ).rowcount


def _key(user_id: str | None, key: str) -> str:
    owner = "-" if user_id is None else f"{len(user_id)}:{user_id}"
    return hashlib.sha256(f"{owner}\n{key}".encode(errors="surrogatepass")).hexdigest()
