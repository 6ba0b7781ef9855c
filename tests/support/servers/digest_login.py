"""A server's side of a login by Digest (RFC 7616, with MD5 and without qop), for origin and proxy."""

from __future__ import annotations

import hashlib
import re

from tests.support.origins.behaviour import Plan, Request, plan_error
from tests.support.origins.misbehaviour import Respond

REALM, NONCE = "files", "c3RpbGw"
CHALLENGE = f'Digest realm="{REALM}", nonce="{NONCE}", algorithm=MD5'


def fits(authorization: str, method: str, login: str) -> bool:
    """Say whether a field proves to know ``name:password`` without telling it."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', authorization))
    name, _, password = login.partition(":")
    proof = _md5(f"{name}:{REALM}:{password}")
    target = _md5(f"{method}:{fields.get('uri', '')}")
    wanted = _md5(f"{proof}:{NONCE}:{target}")
    is_digest = authorization.startswith("Digest ") and fields.get("username") == name
    return is_digest and fields.get("response") == wanted


def asks(login: str) -> Respond:
    """An origin that asks for this login by Digest."""

    def respond(request: Request, plan: Plan) -> Plan:
        if fits(request.headers.get("authorization", ""), request.method, login):
            return plan
        refusal = plan_error(401)
        refusal.headers["WWW-Authenticate"] = CHALLENGE
        return refusal

    return respond


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
