"""One-time sign-in links: only a hash of each is stored, and one caller alone uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select, update

from database.accounts.users import USER_COLUMNS, User, lock_enabled, to_user
from database.engine import Database
from database.models import sign_in_links, users


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInLink:
    """One row of the `sign_in_links` table."""

    hash: str = field(repr=False)
    user_id: str
    created_at: datetime
    expires_at: datetime


class SignInLinkRepository:
    """Reads and writes links. Methods raise DatabaseUnavailableError without database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, link: SignInLink) -> None:
        """Store a new link; links that have expired are deleted.

        Raises:
            UnknownUserError: there is no such user.
            UserDisabledError: it is disabled.
        """
        values = {name: getattr(link, name) for name in SignInLink.__dataclass_fields__}
        with self._database.write() as connection:
            lock_enabled(connection, link.user_id)
            connection.execute(
                delete(sign_in_links).where(sign_in_links.c.expires_at <= link.created_at)
            )
            connection.execute(insert(sign_in_links).values(values))

    def find(self, digest: str, *, now: datetime) -> User | None:
        """Return the user of a link that can be used now; None without."""
        query = (
            select(*USER_COLUMNS)
            .join_from(sign_in_links, users)
            .where(_is_usable(digest, now), users.c.disabled_at.is_(None))
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else to_user(row)

    def use(self, digest: str, *, now: datetime) -> bool:
        """Use a link up; False for all callers but one, and after its time."""
        with self._database.write() as connection:
            statement = update(sign_in_links).where(_is_usable(digest, now)).values(used_at=now)
            return connection.execute(statement).rowcount == 1


def _is_usable(digest: str, now: datetime) -> ColumnElement[bool]:
    links = sign_in_links.c
    return (links.hash == digest) & links.used_at.is_(None) & (links.expires_at > now)
