"""Who receives the ends of jobs: the webhooks of users, and the program of SEEN_ON_END."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from database.engine import Database
from database.models import end_programs, users, webhook_users

#: The name of the only row in `end_programs`.
_PROGRAM = "program"


@dataclass(frozen=True, slots=True)
class UserWebhook:
    """One row of `webhook_users`.

    Attributes:
        url: where the ends of the user's jobs go; None for nowhere.
        secrets: encrypted; None before the first use.
    """

    url: str | None = field(default=None, repr=False)
    secrets: str | None = field(default=None, repr=False)


class Receivers:
    """Reads and writes them. Methods raise DatabaseUnavailableError without database.

    A user is its name; "" stands for jobs without owner.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, user_id: str) -> UserWebhook:
        """Return what a user has."""
        query = select(webhook_users.c.url, webhook_users.c.secrets)
        with self._database.read() as connection:
            row = connection.execute(query.where(webhook_users.c.user_id == user_id)).first()
        return UserWebhook() if row is None else UserWebhook(*row)

    def is_disabled(self, user_id: str) -> bool:
        """Return whether a user has an account that is disabled; other programs' owners have none."""
        disabled = select(users.c.id).where(users.c.id == user_id, users.c.disabled_at.is_not(None))
        with self._database.read() as connection:
            return connection.execute(disabled).first() is not None

    def set_url(self, user_id: str, url: str | None, *, now: datetime) -> None:
        """Set or remove the webhook of a user."""
        self._save(user_id, {"url": url}, now)

    def set_secrets(self, user_id: str, secrets: str, *, now: datetime) -> None:
        """Replace the secrets of a user."""
        self._save(user_id, {"secrets": secrets}, now)

    def add_secrets(self, user_id: str, secrets: str, *, now: datetime) -> str:
        """Store the first secrets of a user; return them, or those that another caller has stored."""
        first = webhook_users.c.secrets.is_(None)
        self._save(user_id, {"secrets": secrets}, now, only_if=first)
        return self.get(user_id).secrets or secrets

    def _save(
        self, user_id: str, values: Mapping[str, Any], now: datetime, only_if: Any = None
    ) -> None:
        values = {**values, "updated_at": now}
        statement = self._database.insert(webhook_users).values(user_id=user_id, **values)
        statement = statement.on_conflict_do_update(
            index_elements=[webhook_users.c.user_id], set_=values, where=only_if
        )
        with self._database.write() as connection:
            connection.execute(statement)

    # ── the program ─────────────────────────────────────────────────────────────────────────────

    def program_seen_at(self) -> datetime | None:
        """Return when a process with a program was last seen; None if ends are kept for none."""
        with self._database.read() as connection:
            return connection.execute(select(end_programs.c.seen_at)).scalar()

    def note_program(self, now: datetime) -> None:
        """Note that this process has a program: ends of jobs are kept for it from now on."""
        statement = self._database.insert(end_programs).values(name=_PROGRAM, seen_at=now)
        statement = statement.on_conflict_do_update(
            index_elements=[end_programs.c.name], set_={"seen_at": now}
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def forget_program(self, before: datetime) -> bool:
        """Keep no more ends for a program, if no process with one was seen since then."""
        with self._database.write() as connection:
            change = delete(end_programs).where(end_programs.c.seen_at < before)
            return connection.execute(change).rowcount == 1
