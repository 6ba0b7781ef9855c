"""A principal: who makes a request, and what it may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Self


class Role(StrEnum):
    """What a user may do at most."""

    ADMIN = "admin"
    """Sees and changes everything: all jobs, limits, users and keys."""
    USER = "user"
    """Submits jobs; sees and changes its own."""
    VIEWER = "viewer"
    """Sees all jobs and their files; changes nothing."""


class Scope(StrEnum):
    """One part of what a role may do. A key has some of the scopes of its user's role."""

    READ = "read"
    """Lists, jobs, histories, events, totals, limits, metrics."""
    FILES = "files"
    """The contents of completed files."""
    SUBMIT = "submit"
    """New jobs."""
    CONTROL = "control"
    """Pause, resume, cancel, retry, priority, and the removal of a record."""
    ADMIN = "admin"
    """Limits of all downloads, users, and keys of other users."""


ALL_SCOPES = frozenset(Scope)
SCOPES_OF_ROLE: Mapping[Role, frozenset[Scope]] = MappingProxyType(
    {
        Role.ADMIN: ALL_SCOPES,
        Role.USER: ALL_SCOPES - {Scope.ADMIN},
        Role.VIEWER: frozenset({Scope.READ, Scope.FILES}),
    }
)


class Kind(StrEnum):
    """How a principal has signed in."""

    KEY = "key"
    SESSION = "session"
    LOCAL = "local"
    """It is a program of this machine that can read the database anyway, such as `seen list`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who makes a request.

    Attributes:
        user_id: the user; None for `Kind.LOCAL` alone.
        role: of the user, as SQL has it at this request.
        scopes: never more than the role has.
        kind: how it has signed in.
        id: of the key or session, for logs; it opens nothing.
        is_by_key: it has signed in with a key, or by a session that a key has started.
    """

    user_id: str | None
    role: Role
    scopes: frozenset[Scope]
    kind: Kind
    id: str = ""
    is_by_key: bool = False

    def __post_init__(self) -> None:
        if not self.user_id and self.kind is not Kind.LOCAL:
            raise ValueError("only a principal of this machine has no user")
        # Here, so that no way to build a principal gives a key more than its user may do.
        object.__setattr__(self, "scopes", self.scopes & SCOPES_OF_ROLE[self.role])

    @classmethod
    def local(cls) -> Self:
        """Return the principal of programs of this machine: it may do everything."""
        return cls(user_id=None, role=Role.ADMIN, scopes=ALL_SCOPES, kind=Kind.LOCAL)


def scopes_from(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of these names; names of a newer version are left out."""
    return frozenset(scope for scope in Scope if scope.value in frozenset(names))
