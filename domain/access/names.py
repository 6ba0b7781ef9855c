"""Names of users and of keys: the one place that checks them."""

from __future__ import annotations

import re

from domain.access.principal import Role, Scope
from domain.errors import InvalidInputError
from domain.request_fields import HIDDEN

#: A name is also an owner, a part of keys of the store, and an argument of commands.
_USER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: What a key's secret begins with: nothing of it may be shown where a name was expected.
_SECRET = re.compile(r"seen_[A-Za-z0-9]+_")
MAX_KEY_NAME = 100


def check_user_name(name: object) -> str:
    """Return the name of a new user; else raise InvalidInputError.

    Capitals are refused, not changed: no two names differ in case alone, and a name is what was given.
    """
    if isinstance(name, str) and _USER.fullmatch(name):
        return name
    raise InvalidInputError(
        "user",
        shown(name),
        "A name has 1 to 64 lower-case letters a-z, digits, dots, dashes and underscores, and begins "
        "with a letter or digit.",
    )


def check_key_name(name: object) -> str:
    """Return the name of a new key, a text for people; else raise InvalidInputError."""
    is_text = isinstance(name, str) and name.isprintable() and name == name.strip()
    if isinstance(name, str) and is_text and len(name) <= MAX_KEY_NAME and not _is_secret(name):
        return name
    raise InvalidInputError(
        "name",
        shown(name),
        f"It has at most {MAX_KEY_NAME} visible characters, no space at its ends, and no secret.",
    )


def check_role(role: object) -> Role:
    """Return the role of this name; else raise InvalidInputError."""
    try:
        return Role(str(role))
    except ValueError:
        raise InvalidInputError("role", shown(role), f"It is {_one_of(Role)}.") from None


def check_scope(scope: object) -> Scope:
    """Return the scope of this name; else raise InvalidInputError."""
    try:
        return Scope(str(scope))
    except ValueError:
        raise InvalidInputError("scope", shown(scope), f"It is {_one_of(Scope)}.") from None


def shown(value: object) -> object:
    """Return a value for an error message; a secret that was given in its place is hidden."""
    return HIDDEN if isinstance(value, str) and _is_secret(value) else value


def _is_secret(text: str) -> bool:
    return _SECRET.search(text) is not None


def _one_of(names: type[Role] | type[Scope]) -> str:
    *most, last = [str(one.value) for one in names]
    return f"{', '.join(most)} or {last}"
