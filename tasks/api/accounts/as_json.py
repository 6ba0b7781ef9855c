"""Users and keys as JSON: no hash is part of it."""

from __future__ import annotations

from datetime import datetime

from typing_extensions import TypedDict

from database.accounts import ApiKey, User


class UserDict(TypedDict):
    """A user; times are ISO 8601."""

    name: str
    role: str
    created_at: str | None
    disabled_at: str | None


class KeyDict(TypedDict):
    """An API key; times are ISO 8601."""

    prefix: str
    user: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


def user_as_json(user: User) -> UserDict:
    """Return a user."""
    return {
        "name": user.id,
        "role": user.role,
        "created_at": _moment(user.created_at),
        "disabled_at": _moment(user.disabled_at),
    }


def key_as_json(key: ApiKey) -> KeyDict:
    """Return a key."""
    return {
        "prefix": key.prefix,
        "user": key.user_id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at.isoformat(),
        "expires_at": _moment(key.expires_at),
        "last_used_at": _moment(key.last_used_at),
        "revoked_at": _moment(key.revoked_at),
    }


def _moment(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()
