"""From what a request presents to a principal. All failures give one error; the log says why."""

from __future__ import annotations

import hmac
import logging
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple, NoReturn

from cache import SessionData
from database.accounts import ApiKey, ApiKeyRepository, User, UserRepository
from domain.access import SCOPES_OF_ROLE, Kind, Principal, Role, Scope
from domain.access.principal import scopes_from
from domain.errors import AuthenticationError, DatabaseUnavailableError
from tasks.api.accounts import tokens
from tasks.api.accounts.limits import count_failure, limit_requests
from tasks.api.accounts.parts import AccountRuntime

logger = logging.getLogger(__name__)

#: The last use of a key is written at most this often.
_USE_INTERVAL = timedelta(minutes=1)
_NOT_SIGNED_IN = (
    "This needs a valid API key or session. What was sent is wrong, expired, revoked or used up; "
    "sign in again, or with another key."
)


class OpenSession(NamedTuple):
    """A session that was accepted, and who it stands for."""

    session: SessionData
    principal: Principal


def authenticate(secret: object, *, address: str | None, runtime: AccountRuntime) -> Principal:
    """Return the principal of a bearer token: an API key or a session.

    Raises: as `authenticate_key` and `authenticate_session`.
    """
    if tokens.is_session(secret):
        return authenticate_session(secret, address=address, runtime=runtime)
    return authenticate_key(secret, address=address, runtime=runtime)


def authenticate_key(secret: object, *, address: str | None, runtime: AccountRuntime) -> Principal:
    """Return the principal of an API key. Its last use is written at most once a minute.

    Args:
        secret: whatever a client has sent.
        address: of the client, for the log and for the limit of failures; None if unknown.
        runtime: of this process.

    Raises:
        AuthenticationError: the key is wrong, revoked or expired, or its user is disabled.
        RateLimitedError: the same, after too many failures from this address.
        DatabaseUnavailableError: without database.
    """
    key, user = _find_key(secret, address, runtime)
    principal = _principal(user, Kind.KEY, key.prefix, scopes_from(key.scopes))
    if principal is None:
        refuse(address, f"key {key.prefix}: its user is disabled, or has no role", runtime)
    _note_use(key, runtime)
    return principal


def authenticate_session(
    token: object, *, address: str | None, runtime: AccountRuntime
) -> Principal:
    """Return the principal of a session, with its user's present role.

    Raises:
        AuthenticationError: there is no such session, it has ended, or its user is disabled.
        RateLimitedError: the same, after too many failures from this address.
        StoreUnavailableError: without store there are no sessions.
        DatabaseUnavailableError: without database.
    """
    return open_session(token, address=address, runtime=runtime).principal


def open_session(token: object, *, address: str | None, runtime: AccountRuntime) -> OpenSession:
    """Return a session with its principal; raises as `authenticate_session`."""
    if not isinstance(token, str) or not tokens.is_session(token):
        refuse(address, "what was sent has not the form of a session", runtime)
    session_id = tokens.digest(token)
    session = _stored_session(session_id, runtime)
    shown = f"session {session_id[:8]}"
    if session is None:
        refuse(address, f"{shown}: it is unknown or over", runtime)
    user, scopes = _user_of(session, runtime)
    if user is None or session.generation != user.session_generation:
        refuse(
            address, f"{shown}: its user has signed out everywhere, or its key has ended", runtime
        )
    principal = _principal(user, Kind.SESSION, session_id[:8], scopes)
    if principal is None:
        refuse(address, f"{shown}: its user is disabled, or has no role", runtime)
    return OpenSession(session, replace(principal, is_by_key=bool(session.key_prefix)))


def check_key(
    secret: object, *, address: str | None, runtime: AccountRuntime
) -> tuple[ApiKey, User]:
    """Return a valid key and its user, who is enabled; it counts as a request of the user.

    Raises: as `authenticate_key`; RateLimitedError also after too many requests of the user.
    """
    principal = authenticate_key(secret, address=address, runtime=runtime)
    limit_requests(principal, runtime=runtime)
    found = ApiKeyRepository(runtime.database).find(principal.id)
    if found is None:
        refuse(address, f"key {principal.id}: it was deleted at this moment", runtime)
    return found


def refuse(address: str | None, reason: str, runtime: AccountRuntime) -> NoReturn:
    """Log why a sign-in failed, count it, and raise the error that does not say why."""
    count_failure(address, reason, runtime=runtime)
    raise AuthenticationError(_NOT_SIGNED_IN)


def _find_key(secret: object, address: str | None, runtime: AccountRuntime) -> tuple[ApiKey, User]:
    prefix = tokens.prefix_of(secret)
    if prefix is None:
        refuse(address, "what was sent has not the form of a key", runtime)
    found = ApiKeyRepository(runtime.database).find(prefix)
    if found is None:
        refuse(address, f"key {prefix}: it is unknown", runtime)
    key, user = found
    if not hmac.compare_digest(key.hash, tokens.digest(str(secret))):
        refuse(address, f"key {prefix}: its secret is wrong", runtime)
    if not key.is_valid(runtime.now()):
        state = "expired" if key.revoked_at is None else "revoked"
        refuse(address, f"key {prefix}: it is {state}", runtime)
    return key, user


def _principal(
    user: User, kind: Kind, shown_id: str, scopes: frozenset[Scope] | None
) -> Principal | None:
    """Return the principal of a user; None if it is disabled, or its role is none that there is."""
    if not user.is_enabled or user.role not in list(Role):
        return None
    role = Role(user.role)
    granted = SCOPES_OF_ROLE[role] if scopes is None else scopes
    return Principal(user_id=user.id, role=role, scopes=granted, kind=kind, id=shown_id)


def _stored_session(session_id: str, runtime: AccountRuntime) -> SessionData | None:
    sessions = runtime.cache.session
    session = sessions.get_session(session_id)
    # Without store that is a miss, too. `touch` raises then, so that no one is sent to sign in again.
    if session is None and sessions.touch(session_id):
        session = sessions.get_session(session_id)
    return session


def _user_of(
    session: SessionData, runtime: AccountRuntime
) -> tuple[User | None, frozenset[Scope] | None]:
    """Return a session's user, and the scopes of the key that it was signed in with, if it is valid."""
    if not session.key_prefix:
        return UserRepository(runtime.database).get(session.user_id), None
    found = ApiKeyRepository(runtime.database).find(session.key_prefix)
    if found is None or not found[0].is_valid(runtime.now()):
        return None, None
    return found[1], scopes_from(found[0].scopes)


def _note_use(key: ApiKey, runtime: AccountRuntime) -> None:
    now = runtime.now()
    before = now - _USE_INTERVAL
    if key.last_used_at is not None and key.last_used_at > before:
        return
    try:
        ApiKeyRepository(runtime.database).note_use(key.prefix, now=now, unless_after=before)
    except (
        DatabaseUnavailableError
    ) as error:  # it could be read a moment ago: the request may go on
        logger.warning("The last use of key %s was not written: %s", key.prefix, error)
