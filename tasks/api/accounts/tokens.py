"""The secrets of accounts: how they are made, how they look, and what is stored of them.

| secret | form |
|---|---|
| API key | ``seen_<prefix>_<secret>``, 8 and 43 characters |
| session | ``seen_session_<secret>`` |
| sign-in link | ``seen_link_<secret>`` |

The 43 characters have 256 random bits: no one guesses them, so that a fast hash is enough, and a lookup
by the hash shows nothing by the time it takes.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from typing import NamedTuple

_LOWER = string.ascii_lowercase + string.digits
_BASE62 = string.ascii_letters + string.digits
_PREFIX_LENGTH, _SECRET_LENGTH = 8, 43

_KEY = re.compile(rf"seen_([a-z0-9]{{{_PREFIX_LENGTH}}})_[A-Za-z0-9]{{{_SECRET_LENGTH}}}")
_SESSION = re.compile(rf"seen_session_[A-Za-z0-9]{{{_SECRET_LENGTH}}}")
_LINK = re.compile(rf"seen_link_[A-Za-z0-9]{{{_SECRET_LENGTH}}}")
_PREFIX = re.compile(rf"[a-z0-9]{{{_PREFIX_LENGTH}}}")


class NewToken(NamedTuple):
    """A secret that was just made, shown once, and the hash that is stored."""

    secret: str
    hash: str

    def __repr__(self) -> str:
        return "NewToken(***)"


def new_key() -> tuple[NewToken, str]:
    """Return a new API key, and its prefix."""
    prefix = _random(_LOWER, _PREFIX_LENGTH)
    return _new(f"seen_{prefix}_"), prefix


def new_session() -> NewToken:
    """Return a new session."""
    return _new("seen_session_")


def new_link() -> NewToken:
    """Return the token of a new sign-in link."""
    return _new("seen_link_")


def digest(secret: str) -> str:
    """Return what is stored of a secret: its SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def prefix_of(secret: object) -> str | None:
    """Return the prefix of an API key; None for what has not the form of one."""
    found = _KEY.fullmatch(secret) if isinstance(secret, str) else None
    return None if found is None else found[1]


def is_prefix(text: str) -> bool:
    """Return whether a text has the form of a key's prefix."""
    return _PREFIX.fullmatch(text) is not None


def is_session(secret: object) -> bool:
    """Return whether something has the form of a session."""
    return isinstance(secret, str) and _SESSION.fullmatch(secret) is not None


def is_link(secret: object) -> bool:
    """Return whether something has the form of a link's token."""
    return isinstance(secret, str) and _LINK.fullmatch(secret) is not None


def _new(start: str) -> NewToken:
    secret = start + _random(_BASE62, _SECRET_LENGTH)
    return NewToken(secret, digest(secret))


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
