"""Errors about users and keys themselves."""

from __future__ import annotations

from domain.access.names import shown
from domain.errors import AccountError
from domain.text import escaped


class UnknownUserError(AccountError):
    """There is no user of this name."""

    code = "unknown_user"

    def __init__(self, user_id: str) -> None:
        name = escaped(str(shown(user_id)), 64)
        super().__init__(f"There is no user {name!r}. `seen user list` shows the users there are.")


class UserExistsError(AccountError):
    """A user of this name exists already."""

    code = "user_exists"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"There is a user {user_id!r} already. Names are never used twice.")


class UserDisabledError(AccountError):
    """The user is disabled, so it gets no key and no sign-in link."""

    code = "user_disabled"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"User {user_id!r} is disabled. `seen user enable` enables it again.")


class UnknownKeyError(AccountError):
    """There is no API key with this prefix."""

    code = "unknown_key"

    def __init__(self, prefix: str) -> None:
        super().__init__(f"There is no key {prefix!r}. `seen key list` shows the keys there are.")
