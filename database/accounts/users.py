"""Users: added, disabled, enabled; their roles, and the generation of their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from database.engine import Database
from database.models import api_keys, sign_in_links, users
from database.webhooks.outbox import make_due
from domain.access.errors import UnknownUserError, UserDisabledError


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One row of the `users` table. `save` writes the first four fields alone."""

    id: str
    email: str
    display_name: str
    role: str = "user"
    created_at: datetime | None = field(default=None, compare=False)
    disabled_at: datetime | None = None
    """None while it is enabled."""
    session_generation: int = 0
    """Sessions of an older generation are signed out."""

    @property
    def is_enabled(self) -> bool:
        """Whether it may sign in."""
        return self.disabled_at is None


_NAMES = tuple(one.name for one in fields(User))
USER_COLUMNS = tuple(users.c[name] for name in _NAMES)
#: Built once: building it takes longer than running it, and each request with a session does.
_GET = select(*USER_COLUMNS).where(users.c.id == bindparam("b_id"))


def to_user(row: Sequence[Any]) -> User:
    """Read one row of `USER_COLUMNS`."""
    return User(**dict(zip(_NAMES, row, strict=True)))


class UserRepository:
    """Reads and writes users. Methods raise DatabaseUnavailableError without database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, user_id: str) -> User | None:
        """Return one user, or None."""
        with self._database.read() as connection:
            return _get(connection, user_id)

    def all(self) -> list[User]:
        """Return all users by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(*USER_COLUMNS).order_by(users.c.id))
            return [to_user(row) for row in rows]

    def save(self, user: User) -> None:
        """Write one user, new or changed; whether it is disabled stays as it is."""
        now = datetime.now(UTC)
        changes = {
            "email": user.email,
            "display_name": user.display_name,
            "role": user.role,
            "updated_at": now,
        }
        # One statement, so that two callers can write the same new user at once.
        statement = self._database.insert(users).values(id=user.id, created_at=now, **changes)
        with self._database.write() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=[users.c.id], set_=changes)
            )

    def add(self, user: User, *, now: datetime) -> User | None:
        """Add a user and return it as stored; None if there is one of this name, which stays."""
        statement = self._database.insert(users).values(
            id=user.id,
            email=user.email,
            display_name=user.display_name,
            role=user.role,
            created_at=now,
            updated_at=now,
        )
        statement = statement.on_conflict_do_nothing().returning(*USER_COLUMNS)
        with self._database.write() as connection:
            row = connection.execute(statement).first()
        return None if row is None else to_user(row)

    def set_role(self, user_id: str, role: str, *, now: datetime) -> User | None:
        """Change a role and return the user; None if there is none."""
        with self._database.write() as connection:
            return _change(connection, user_id, {"role": role, "updated_at": now})

    def enable(self, user_id: str, *, now: datetime) -> User | None:
        """Let a user sign in again, and return it; None if there is none."""
        with self._database.write() as connection:
            return _change(connection, user_id, {"disabled_at": None, "updated_at": now})

    def disable(self, user_id: str, *, now: datetime) -> User | None:
        """Disable a user and end all that it has signed in with, in one transaction; None without user.

        Its keys are revoked, its sessions and sign-in links are over: none comes back when the user is
        enabled again. Deliveries to its webhooks become due, and are given up then. A user that is
        disabled already stays as it is.
        """
        with self._database.write() as connection:
            user = _change(
                connection, user_id, {"disabled_at": now, "updated_at": now, **_NEW_GENERATION}
            )
            if user is None:
                return _get(connection, user_id)
            own = api_keys.c.user_id == user_id
            connection.execute(
                update(api_keys).where(own, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
            )
            connection.execute(delete(sign_in_links).where(sign_in_links.c.user_id == user_id))
            make_due(connection, user_id, now=now, later_than=now + _UNDER_WAY)
            return user

    def sign_out_everywhere(self, user_id: str) -> bool:
        """End all sessions that a user has now; False if there is no such user."""
        with self._database.write() as connection:
            return _change(connection, user_id, _NEW_GENERATION) is not None


#: A delivery that is due sooner may be one that is being made.
_UNDER_WAY = timedelta(minutes=2)
_NEW_GENERATION = {"session_generation": users.c.session_generation + 1}


def lock_enabled(connection: Connection, user_id: str) -> User:
    """Return a user who is enabled until this transaction ends.

    Raises:
        UnknownUserError: there is none.
        UserDisabledError: it is disabled.
    """
    query = select(*USER_COLUMNS).where(users.c.id == user_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise UnknownUserError(user_id)
    user = to_user(row)
    if not user.is_enabled:
        raise UserDisabledError(user_id)
    return user


def _get(connection: Connection, user_id: str) -> User | None:
    row = connection.execute(_GET, {"b_id": user_id}).first()
    return None if row is None else to_user(row)


def _change(connection: Connection, user_id: str, values: Mapping[str, Any]) -> User | None:
    which = users.c.id == user_id
    if values.get("disabled_at") is not None:
        which &= users.c.disabled_at.is_(None)
    row = connection.execute(
        update(users).where(which).values(values).returning(*USER_COLUMNS)
    ).first()
    return None if row is None else to_user(row)
