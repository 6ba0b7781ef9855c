"""Users of the platform, as far as this service needs to know them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from database.engine import Database
from database.models import users


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One row of the `users` table."""

    id: str
    email: str
    display_name: str
    role: str = "user"


class UserRepository:
    """Reads and writes users. Methods raise DatabaseUnavailableError without database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, user_id: str) -> User | None:
        """Return one user, or None."""
        columns = (users.c.id, users.c.email, users.c.display_name, users.c.role)
        with self._database.read() as connection:
            row = connection.execute(select(*columns).where(users.c.id == user_id)).first()
        return None if row is None else User(**row._mapping)

    def save(self, user: User) -> None:
        """Write one user, new or changed."""
        now = datetime.now(UTC)
        changes = {
            "email": user.email,
            "display_name": user.display_name,
            "role": user.role,
            "updated_at": now,
        }
        # One statement, so that two callers can write the same new user at once.
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        statement = insert(users).values(id=user.id, created_at=now, **changes)
        with self._database.write() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=[users.c.id], set_=changes)
            )
