"""API keys: created, listed, revoked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from database.accounts import ApiKey, ApiKeyRepository, UserRepository
from domain.access import SCOPES_OF_ROLE, Principal, Role, Scope, require_account
from domain.access.errors import UnknownKeyError, UnknownUserError
from domain.access.names import check_key_name, check_role, check_scope, shown
from domain.errors import ForbiddenError, InvalidInputError
from tasks.api.accounts import tokens
from tasks.api.accounts.parts import AccountRuntime

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made. `secret` is shown once; only its hash is stored."""

    secret: str = field(repr=False)
    key: ApiKey


def create_key(
    principal: Principal,
    user_id: str,
    *,
    runtime: AccountRuntime,
    name: str = "",
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> NewKey:
    """Make a key for a user.

    Args:
        principal: who makes it.
        user_id: whose key it is.
        runtime: of this process.
        name: what it is for, as a text for people.
        scopes: what it may do; by default all that the user's role may, but `admin`.
        expires_at: aware; None: never.

    Raises:
        ForbiddenError: it is another user's, a principal with a key makes one, or the scopes are more
            than the principal has itself.
        InvalidInputError: a name or scope is not valid, the role of the user does not have a scope, or
            it would be expired already.
        UnknownUserError: there is no such user.
        UserDisabledError: it is disabled.
    """
    require_account(principal, user_id)
    now, label = runtime.now(), check_key_name(name)
    if expires_at is not None and expires_at <= now:
        raise InvalidInputError("expires_at", expires_at.isoformat(), "It must be in the future.")
    granted = tuple(sorted(_scopes(principal, _role(user_id, runtime), scopes)))
    while True:
        token, prefix = tokens.new_key()
        key = ApiKey(prefix, token.hash, user_id, label, granted, now, expires_at)
        if ApiKeyRepository(runtime.database).add(key):  # else another key has this prefix
            logger.info("Key %s of user %s was made", prefix, user_id)
            return NewKey(secret=token.secret, key=key)


def list_keys(
    principal: Principal, user_id: str | None = None, *, runtime: AccountRuntime
) -> list[ApiKey]:
    """Return a user's keys, or those of all users, the oldest first; revoked ones, too.

    Raises:
        ForbiddenError: only admins list the keys of others.
        UnknownUserError: there is no such user.
    """
    require_account(principal, user_id or "")
    if user_id is not None and UserRepository(runtime.database).get(user_id) is None:
        raise UnknownUserError(user_id)
    return ApiKeyRepository(runtime.database).all(user_id)


def revoke_key(principal: Principal, prefix: str, *, runtime: AccountRuntime) -> bool:
    """End a key at once and for good, and the sessions made with it; False if it is revoked already.

    Raises:
        InvalidInputError: it is no prefix, but for example a whole key.
        UnknownKeyError: there is none with this prefix, or it is another user's.
    """
    if not tokens.is_prefix(prefix):
        raise InvalidInputError(
            "prefix",
            shown(prefix),
            "It has 8 lower-case letters and digits, as the list of keys shows it.",
        )
    keys = ApiKeyRepository(runtime.database)
    found = keys.find(prefix)
    try:
        require_account(principal, "" if found is None else found[0].user_id)
    except ForbiddenError:
        raise UnknownKeyError(prefix) from None
    if found is None:
        raise UnknownKeyError(prefix)
    revoked = keys.revoke(prefix, now=runtime.now())
    if revoked:
        logger.info("Key %s of user %s was revoked", prefix, found[0].user_id)
    return revoked


def _role(user_id: str, runtime: AccountRuntime) -> Role:
    user = UserRepository(runtime.database).get(user_id)
    if user is None:
        raise UnknownUserError(user_id)
    return check_role(user.role)


def _scopes(principal: Principal, role: Role, names: Sequence[str]) -> frozenset[Scope]:
    wanted = frozenset(check_scope(name) for name in names)
    allowed = SCOPES_OF_ROLE[role]
    for scope in sorted(wanted - allowed):
        raise InvalidInputError("scope", scope.value, f"The role {role.value!r} does not have it.")
    granted = wanted or (allowed - {Scope.ADMIN}) & principal.scopes
    if not granted <= principal.scopes:
        raise ForbiddenError("A key cannot have more scopes than the one who makes it.")
    return granted
