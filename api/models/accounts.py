"""Bodies and answers of the routes of users and keys."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import Field
from typing_extensions import TypedDict

from api.models.fields import Body
from tasks.api.accounts.as_json import KeyDict, UserDict

_NAME = "^[a-z0-9][a-z0-9._-]{0,63}$"
_ROLE = Literal["admin", "user", "viewer"]

UserName = Annotated[str, Path(pattern=_NAME, description="The name of a user.")]
KeyPrefix = Annotated[
    str, Path(pattern="^[a-z0-9]{8}$", description="The eight characters behind seen_.")
]


class UserCreation(Body):
    """A new user."""

    name: Annotated[str, Field(pattern=_NAME, examples=["ada"])]
    role: _ROLE = "user"


class UserChange(Body):
    """What changes of a user; one of them."""

    role: _ROLE | None = None
    disabled: bool | None = None


class KeyCreation(Body):
    """A new key."""

    user: Annotated[
        str | None, Field(pattern=_NAME, description="Whose; without, the caller's own.")
    ] = None
    name: Annotated[str, Field(max_length=100, pattern="^[ -~]*$")] = ""
    scopes: Annotated[
        list[Literal["read", "files", "submit", "control", "admin"]],
        Field(max_length=5, description="Empty for all of the role but admin."),
    ] = Field(default_factory=list)
    days: Annotated[int | None, Field(ge=1, le=3650, description="Until it expires.")] = None


class Users(TypedDict):
    """All users."""

    users: list[UserDict]


class Keys(TypedDict):
    """Keys, without their secrets."""

    keys: list[KeyDict]


class NewKeyDict(KeyDict):
    """A key that was just made."""

    key: str
    """What programs send; it is not shown again."""


class NewLinkDict(TypedDict):
    """A sign-in link that was just made."""

    user: str
    token: str
    expires_at: str
