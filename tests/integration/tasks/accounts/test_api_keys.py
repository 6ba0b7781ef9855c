"""API keys: made, used, refused, revoked."""

from __future__ import annotations

import logging

import pytest

from domain.access import Kind, Principal, Role, Scope
from domain.errors import AuthenticationError
from tasks.api.accounts import AccountParts, add_user, authenticate_key, create_key, revoke_key

LOCAL = Principal.local()
ADDRESS = "192.0.2.7"


def test_a_key_stands_for_its_user(accounts: AccountParts) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    new = create_key(LOCAL, "ada", runtime=accounts)
    principal = authenticate_key(new.secret, address=ADDRESS, runtime=accounts)
    assert principal == Principal(
        user_id="ada",
        role=Role.USER,
        scopes=frozenset({Scope.READ, Scope.FILES, Scope.SUBMIT, Scope.CONTROL}),
        kind=Kind.KEY,
        id=new.key.prefix,
    )


def test_a_revoked_key_opens_nothing(
    accounts: AccountParts, caplog: pytest.LogCaptureFixture
) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    new = create_key(LOCAL, "ada", runtime=accounts)
    assert revoke_key(LOCAL, new.key.prefix, runtime=accounts)
    with caplog.at_level(logging.INFO), pytest.raises(AuthenticationError):
        authenticate_key(new.secret, address=ADDRESS, runtime=accounts)
    assert f"key {new.key.prefix}: it is revoked" in caplog.text
