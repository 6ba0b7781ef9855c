"""Sign-in links and sessions: sign in, refresh, sign out, sign out everywhere.

A session is a random token of the client; the store has its SHA-256 as the id. SQL has what ends it
whatever the store does: whether the user is enabled, and the generation of its sessions. Each sign-in
and each refresh makes a new token, so that no one can have chosen it for another.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cache import SessionData
from database.accounts import SignInLink, SignInLinkRepository, User, UserRepository
from domain.access import Principal, require_end_of_sessions, require_to_give
from domain.access.errors import UnknownUserError
from domain.errors import StoreError, StoreUnavailableError
from domain.text import escaped
from tasks.api.accounts import tokens
from tasks.api.accounts.authentication import authenticate_session, check_key, open_session, refuse
from tasks.api.accounts.parts import AccountRuntime
from tasks.api.accounts.tokens import NewToken

logger = logging.getLogger(__name__)

#: A session that is refreshed again and again ends this long after its sign-in.
MAX_AGE = timedelta(days=7)
#: A sign-in link is valid for this long.
LINK_TTL = timedelta(minutes=10)
#: Characters of a client's name that are kept.
_CLIENT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A sign-in link that was just made. `token` is shown once, and used once."""

    token: str = field(repr=False)
    user_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that was just made. `token` goes to the client, and is stored nowhere."""

    token: str = field(repr=False)
    principal: Principal
    expires_at: datetime


def create_link(principal: Principal, user_id: str, *, runtime: AccountRuntime) -> NewLink:
    """Make a link with which a user signs in once, within ten minutes.

    Raises:
        ForbiddenError: only admins may, and not with a key that has fewer scopes than they.
        UnknownUserError: there is no such user.
        UserDisabledError: it is disabled.
    """
    require_to_give(principal, None)
    now, token = runtime.now(), tokens.new_link()
    expires_at = now + LINK_TTL
    SignInLinkRepository(runtime.database).add(
        SignInLink(hash=token.hash, user_id=user_id, created_at=now, expires_at=expires_at)
    )
    logger.info("A sign-in link for user %s was made", user_id)
    return NewLink(token=token.secret, user_id=user_id, expires_at=expires_at)


def sign_in(
    link_token: object,
    *,
    address: str | None,
    runtime: AccountRuntime,
    client: str = "",
    former: object = None,
) -> NewSession:
    """Use a sign-in link up, and start a session.

    Args:
        link_token: whatever a client has sent.
        address: of the client.
        runtime: of this process.
        client: the name of its program, as it says.
        former: the session that the client had, if any; it ends.

    Raises:
        AuthenticationError: the link is wrong, used or over, or its user is disabled.
        RateLimitedError: the same, after too many failures from this address.
        StoreUnavailableError: without store there are no sessions; the link can still be used.
        DatabaseUnavailableError: without database.
    """
    links, now = SignInLinkRepository(runtime.database), runtime.now()
    if not isinstance(link_token, str) or not tokens.is_link(link_token):
        refuse(address, "what was sent has not the form of a sign-in link", runtime)
    digest = tokens.digest(link_token)
    user = links.find(digest, now=now)
    if user is None:
        refuse(address, f"sign-in link {digest[:8]}: it is unknown, used or over", runtime)
    # The session first: a link is not used up for nothing when the store does not answer.
    token, session = _new_session(user, now, client, runtime)
    _store(session, runtime)
    if not links.use(digest, now=now):
        runtime.cache.session.delete_session(session.session_id)
        refuse(address, f"sign-in link {digest[:8]}: another request has used it", runtime)
    return _started(token, session, address, former, runtime)


def sign_in_with_key(
    secret: object,
    *,
    address: str | None,
    runtime: AccountRuntime,
    client: str = "",
    former: object = None,
) -> NewSession:
    """Start a session with an API key. It has the key's scopes, and ends with the key.

    Raises: as `sign_in`.
    """
    key, user = check_key(secret, address=address, runtime=runtime)
    token, session = _new_session(user, runtime.now(), client, runtime)
    session = session.model_copy(update={"key_prefix": key.prefix})
    _store(session, runtime)
    return _started(token, session, address, former, runtime)


def refresh(token: object, *, address: str | None, runtime: AccountRuntime) -> NewSession:
    """Replace a session by a new one with a new token. One of several callers gets it.

    Raises:
        AuthenticationError: the session is over, or its sign-in was seven days ago.
        RateLimitedError: the same, after too many failures from this address.
        StoreUnavailableError: without store; the session stays.
        DatabaseUnavailableError: without database.
    """
    former, principal = open_session(token, address=address, runtime=runtime)
    now, fresh = runtime.now(), tokens.new_session()
    expires_at = _expiry(former.created_at or now, now, runtime)
    if expires_at <= now:
        refuse(address, f"session {principal.id}: its sign-in was too long ago", runtime)
    session = former.model_copy(update={"session_id": fresh.hash, "expires_at": expires_at})
    _store(session, runtime)
    sessions = runtime.cache.session
    # The new one first, so that a failure ends none. Who finds no former one has lost to another caller.
    if not sessions.delete_session(former.session_id):
        sessions.delete_session(session.session_id)
        refuse(address, f"session {principal.id}: it ended while it was refreshed", runtime)
    return _session(fresh, session, address, runtime)


def sign_out(token: object, *, runtime: AccountRuntime) -> bool:
    """End a session; False if there was none.

    Raises:
        StoreUnavailableError: without store; the session is still valid.
    """
    if not isinstance(token, str) or not tokens.is_session(token):
        return False
    return runtime.cache.session.delete_session(tokens.digest(token))


def sign_out_everywhere(principal: Principal, user_id: str, *, runtime: AccountRuntime) -> None:
    """End all sessions of a user, at once and for good, also without store. Keys stay valid.

    Raises:
        ForbiddenError: it is another user and the principal is no admin, or a session by a key without
            the scope `control`.
        UnknownUserError: there is no such user.
        DatabaseUnavailableError: without database; nothing ended.
    """
    require_end_of_sessions(principal, user_id)
    if not UserRepository(runtime.database).sign_out_everywhere(user_id):
        raise UnknownUserError(user_id)
    forget_sessions(user_id, runtime=runtime)
    logger.info("User %s was signed out everywhere", user_id)


def forget_sessions(user_id: str, *, runtime: AccountRuntime) -> None:
    """Remove a user's sessions from the store, after SQL has ended them."""
    try:
        runtime.cache.session.invalidate_user_sessions(user_id)
    except StoreError as error:
        logger.info("Ended sessions stay in the store until they expire: %s", error)


def _new_session(
    user: User, now: datetime, client: str, runtime: AccountRuntime
) -> tuple[NewToken, SessionData]:
    token = tokens.new_session()
    session = SessionData(
        session_id=token.hash,
        user_id=user.id,
        created_at=now,
        expires_at=_expiry(now, now, runtime),
        client=escaped(client[:_CLIENT]),
        generation=user.session_generation,
    )
    return token, session


def _expiry(signed_in_at: datetime, now: datetime, runtime: AccountRuntime) -> datetime:
    return min(now + timedelta(seconds=runtime.settings.session_ttl), signed_in_at + MAX_AGE)


def _store(session: SessionData, runtime: AccountRuntime) -> None:
    if not runtime.cache.session.set_session(session):
        raise StoreUnavailableError(
            "The store does not answer, and sessions are in it. API keys work meanwhile."
        )


def _started(
    token: NewToken,
    session: SessionData,
    address: str | None,
    former: object,
    runtime: AccountRuntime,
) -> NewSession:
    sign_out(former, runtime=runtime)
    started = _session(token, session, address, runtime)
    logger.info("User %s has signed in: session %s", session.user_id, started.principal.id)
    return started


def _session(
    token: NewToken, session: SessionData, address: str | None, runtime: AccountRuntime
) -> NewSession:
    """Return a session as a request would find it: a user may have been disabled in between."""
    principal = authenticate_session(token.secret, address=address, runtime=runtime)
    return NewSession(token=token.secret, principal=principal, expires_at=session.expires_at)
