"""Errors about users and keys themselves."""

from __future__ import annotations

from domain.access.names import shown
from domain.errors import AccountError
from domain.text import escaped


class UnknownUserError(AccountError):
    """There is no user of this name."""

    code = "unknown_user"
    command = "`seen user list` shows the users there are."

    def __init__(self, user_id: str) -> None:
        name = escaped(str(shown(user_id)), 64)
        super().__init__(f"There is no user {name!r}. {self.command}")


class UserExistsError(AccountError):
    """A user of this name exists already."""

    code = "user_exists"

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"There is a user {user_id!r} already. Choose another name: none is given twice."
        )


class UserDisabledError(AccountError):
    """The user is disabled, so it gets no key and no sign-in link."""

    code = "user_disabled"
    command = "`seen user enable` enables it again."

    def __init__(self, user_id: str) -> None:
        super().__init__(f"User {user_id!r} is disabled. {self.command}")


class UnknownKeyError(AccountError):
    """There is no API key with this prefix."""

    code = "unknown_key"
    command = "`seen key list` shows the keys there are."

    def __init__(self, prefix: str) -> None:
        super().__init__(f"There is no key {prefix!r}. {self.command}")
