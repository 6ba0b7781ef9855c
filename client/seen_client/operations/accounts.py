"""Sign in and out. A client that has an API key needs none of this."""

from __future__ import annotations

from seen_client.models import Identity
from seen_client.operations.asking import change, end, get
from seen_client.service import Service
from seen_client.steps import Flow


def sign_in(
    service: Service, *, link_token: str | None = None, key: str | None = None
) -> Flow[Identity]:
    """Start a session with the token of a sign-in link, or with a key; the client uses it from now on.

    Raises:
        AuthenticationError: it is not valid, or used up.
    """
    credential = {"link_token": link_token} if key is None else {"key": key}
    body = {**credential, "bearer": True}
    identity = yield from change(service, "POST", "/v1/session", Identity, body)
    return _used(service, identity)


def who_am_i(service: Service) -> Flow[Identity]:
    """Return who has signed in, and what it may do."""
    return (yield from get(service, "/v1/session", Identity))


def refresh(service: Service) -> Flow[Identity]:
    """Replace the session by a new one, which the client uses from now on."""
    identity = yield from change(service, "POST", "/v1/session/refresh", Identity)
    return _used(service, identity)


def sign_out(service: Service) -> Flow[None]:
    """End the session."""
    yield from end(service, "DELETE", "/v1/session")
    service.use(None)


def sign_out_everywhere(service: Service) -> Flow[None]:
    """End all sessions of this user. API keys stay valid."""
    yield from end(service, "POST", "/v1/session/everywhere")
    service.use(None)


def _used(service: Service, identity: Identity) -> Identity:
    if identity.token is not None:
        service.use(identity.token)
    return identity
