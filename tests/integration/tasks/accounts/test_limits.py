"""Rate limits: of requests by user, and of failed sign-ins by address."""

from __future__ import annotations

import logging

import pytest

from domain.errors import AuthenticationError, RateLimitedError
from tasks.api.accounts import (
    AccountParts,
    add_user,
    authenticate_session,
    limit_requests,
    sign_in,
    sign_in_with_key,
    tokens,
)
from tasks.api.accounts.limits import network_of
from tests.support.accounts import (
    ADDRESS,
    LOCAL,
    by_key,
    user_with_key,
    with_settings,
    without_store,
)


def test_requests_of_each_user_are_limited(accounts: AccountParts) -> None:
    parts = with_settings(accounts, user_requests=3)
    ada = by_key(user_with_key(parts).secret, parts)
    bob = by_key(user_with_key(parts, "bob").secret, parts)
    left = [limit_requests(ada, runtime=parts) for _ in range(3)]
    assert [one.states[0].remaining for one in left if one] == [2, 1, 0]
    with pytest.raises(RateLimitedError) as caught:
        limit_requests(ada, runtime=parts)
    assert 0 < caught.value.retry_after <= 60
    assert limit_requests(bob, runtime=parts) is not None


def test_signing_in_with_a_key_counts_as_a_request(accounts: AccountParts) -> None:
    parts = with_settings(accounts, user_requests=2)
    key = user_with_key(parts).secret
    for _ in range(2):
        sign_in_with_key(key, address=ADDRESS, runtime=parts)
    stored = parts.cache.client.keys("*session*")
    with pytest.raises(RateLimitedError):
        sign_in_with_key(key, address=ADDRESS, runtime=parts)
    assert parts.cache.client.keys("*session*") == stored, "a refused one stores nothing"


def test_without_limit_nothing_is_counted(accounts: AccountParts) -> None:
    parts = with_settings(accounts, user_requests=0)
    ada = by_key(user_with_key(parts).secret, parts)
    assert limit_requests(ada, runtime=parts) is None
    assert limit_requests(LOCAL, runtime=accounts) is None
    assert accounts.cache.client.keys("*ratelimit*") == []


def test_guessing_is_limited_by_address_and_logged(
    accounts: AccountParts, caplog: pytest.LogCaptureFixture
) -> None:
    parts = with_settings(accounts, address_failures=3)
    new = user_with_key(parts)
    guesses = (
        lambda address: by_key(tokens.new_key()[0].secret, parts, address),
        lambda address: authenticate_session(
            tokens.new_session().secret, address=address, runtime=parts
        ),
        lambda address: sign_in(tokens.new_link().secret, address=address, runtime=parts),
    )
    with caplog.at_level(logging.WARNING):
        for guess in guesses:
            with pytest.raises(AuthenticationError):
                guess("192.0.2.1")
        for guess in guesses * 3:
            with pytest.raises(RateLimitedError) as caught:
                guess("192.0.2.1")
            assert 0 < caught.value.retry_after <= 60
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4, "three failures, and one line about those that follow"
    assert lines[-1] == "Further failed sign-ins from 192.0.2.1 are refused for a while, unlogged"
    assert by_key(new.secret, parts, "192.0.2.1").user_id == "ada", "no one is locked out by others"
    with pytest.raises(AuthenticationError):
        guesses[0]("192.0.2.2")


def test_one_ipv6_network_is_one_address(accounts: AccountParts) -> None:
    parts = with_settings(accounts, address_failures=2)
    for number in (1, 2):
        with pytest.raises(AuthenticationError):
            by_key("x", parts, f"2001:db8::{number}")
    with pytest.raises(RateLimitedError):
        by_key("x", parts, "2001:db8::ffff:1")
    with pytest.raises(AuthenticationError):
        by_key("x", parts, "2001:db8:0:1::1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        (None, "an unknown address"),
        ("", "an unknown address"),
        ("testclient", "an unknown address"),
        ("192.0.2.7\nforged line", "an unknown address"),
        ("\x1b[31m", "an unknown address"),
        ("x" * 10_000, "an unknown address"),
    ],
)
def test_what_counts_as_one_address(address: str | None, expected: str) -> None:
    assert network_of(address) == expected


def test_without_store_nothing_is_limited(
    accounts: AccountParts, caplog: pytest.LogCaptureFixture
) -> None:
    parts = with_settings(accounts, user_requests=1, address_failures=1)
    new = user_with_key(parts)
    add_user(LOCAL, "bob", "user", runtime=parts)
    with without_store(parts) as alone:
        for _ in range(3):
            decision = limit_requests(by_key(new.secret, alone), runtime=alone)
            assert decision is not None
            assert decision.allowed
            with pytest.raises(AuthenticationError):
                by_key("x", alone)
    failures = [one for one in caplog.records if "A sign-in from" in one.getMessage()]
    assert len(failures) == 3, "each is logged"
