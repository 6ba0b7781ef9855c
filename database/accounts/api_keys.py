"""API keys: only a hash of each is stored, and its prefix, by which it is found."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime

from sqlalchemy import bindparam, select, update

from database.accounts.users import USER_COLUMNS, User, lock_enabled, to_user
from database.engine import Database
from database.models import api_keys, users


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One row of the `api_keys` table."""

    prefix: str
    """What people recognise it by; it opens nothing."""
    hash: str = field(repr=False)
    user_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    """Written at most once a minute."""
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Return whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


KEY_COLUMNS = tuple(api_keys.c[one.name] for one in fields(ApiKey))
#: Built once: building it takes longer than running it, and each request does.
_FIND = (
    select(*KEY_COLUMNS, *(column.label(f"user_{column.name}") for column in USER_COLUMNS))
    .join_from(api_keys, users)
    .where(api_keys.c.prefix == bindparam("b_prefix"))
)


class ApiKeyRepository:
    """Reads and writes keys. Methods raise DatabaseUnavailableError without database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: ApiKey) -> bool:
        """Store a new key; False if its prefix is used, and nothing is written.

        Raises:
            UnknownUserError: there is no such user.
            UserDisabledError: it is disabled.
        """
        values = {one.name: getattr(key, one.name) for one in fields(ApiKey)}
        statement = self._database.insert(api_keys).values(values).on_conflict_do_nothing()
        with self._database.write() as connection:
            lock_enabled(connection, key.user_id)
            return connection.execute(statement.returning(api_keys.c.prefix)).first() is not None

    def find(self, prefix: str) -> tuple[ApiKey, User] | None:
        """Return the key with this prefix and its user, as they are at one moment; None without."""
        with self._database.read() as connection:
            row = connection.execute(_FIND, {"b_prefix": prefix}).first()
        if row is None:
            return None
        count = len(KEY_COLUMNS)
        return ApiKey(*row[:count]), to_user(row[count:])

    def all(self, user_id: str | None = None) -> list[ApiKey]:
        """Return all keys, or those of one user, the oldest first."""
        query = select(*KEY_COLUMNS).order_by(api_keys.c.created_at, api_keys.c.prefix)
        if user_id is not None:
            query = query.where(api_keys.c.user_id == user_id)
        with self._database.read() as connection:
            return [ApiKey(*row) for row in connection.execute(query)]

    def revoke(self, prefix: str, *, now: datetime) -> bool:
        """End a key for good; False if it is revoked already, or unknown."""
        is_valid = (api_keys.c.prefix == prefix) & api_keys.c.revoked_at.is_(None)
        with self._database.write() as connection:
            done = connection.execute(update(api_keys).where(is_valid).values(revoked_at=now))
            return done.rowcount == 1

    def note_use(self, prefix: str, *, now: datetime, unless_after: datetime) -> None:
        """Write the time of a use, unless one after `unless_after` is written."""
        last = api_keys.c.last_used_at
        is_old = (api_keys.c.prefix == prefix) & (last.is_(None) | (last <= unless_after))
        with self._database.write() as connection:
            connection.execute(update(api_keys).where(is_old).values(last_used_at=now))
