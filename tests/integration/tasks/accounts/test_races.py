"""Several callers at once: each thing that happens once happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from database import User
from domain.errors import AccountError, AuthenticationError, SeenError
from tasks.api.accounts import (
    AccountParts,
    NewKey,
    add_user,
    create_key,
    create_link,
    disable_user,
    enable_user,
    list_keys,
    refresh,
    revoke_key,
    sign_in,
)
from tests.support.accounts import (
    LOCAL,
    by_key,
    by_session,
    user_with_key,
    user_with_session,
)

T = TypeVar("T")
CALLERS = 6


def at_once(call: Callable[[], T], callers: int = CALLERS) -> list[T | SeenError]:
    """Call a function from several threads at one moment; return results and errors."""
    barrier = threading.Barrier(callers)

    def run() -> T | SeenError:
        barrier.wait()
        try:
            return call()
        except SeenError as error:
            return error

    with ThreadPoolExecutor(callers) as pool:
        return [one.result() for one in [pool.submit(run) for _ in range(callers)]]


def test_one_of_several_uses_a_link(accounts: AccountParts) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    for number in range(1, 4):
        link = create_link(LOCAL, "ada", runtime=accounts)
        found = at_once(lambda: sign_in(link.token, address=f"192.0.2.{number}", runtime=accounts))  # noqa: B023
        assert sum(isinstance(one, AuthenticationError) for one in found) == CALLERS - 1
        (new,) = [one for one in found if not isinstance(one, SeenError)]
        assert by_session(new.token, accounts).user_id == "ada"
        assert len(accounts.cache.session.list_sessions("ada")) == number, "no session is left over"


def test_one_of_several_refreshes_a_session(accounts: AccountParts) -> None:
    token = user_with_session(accounts).token
    for number in range(1, 4):
        found = at_once(lambda: refresh(token, address=f"192.0.2.{number}", runtime=accounts))  # noqa: B023
        (new,) = [one for one in found if not isinstance(one, SeenError)]
        assert sum(isinstance(one, AuthenticationError) for one in found) == CALLERS - 1
        assert len(accounts.cache.session.list_sessions("ada")) == 1
        token = new.token


def test_one_of_several_adds_a_user(accounts: AccountParts) -> None:
    found = at_once(lambda: add_user(LOCAL, "ada", "user", runtime=accounts))
    assert sum(isinstance(one, AccountError) for one in found) == CALLERS - 1


def test_one_of_several_revokes_a_key(accounts: AccountParts) -> None:
    new = user_with_key(accounts)
    found = at_once(lambda: revoke_key(LOCAL, new.key.prefix, runtime=accounts))
    assert sorted(map(str, found)) == ["False"] * (CALLERS - 1) + ["True"]


def test_a_key_that_is_revoked_while_it_is_used_opens_nothing_more(accounts: AccountParts) -> None:
    new = user_with_key(accounts)
    is_revoked, used = threading.Event(), threading.Event()
    late = []

    def use() -> None:
        for _ in range(10_000):
            revoked_before = is_revoked.is_set()
            try:
                by_key(new.secret, accounts)
            except SeenError:
                return
            used.set()
            if revoked_before:
                late.append("it was accepted")

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(use) for _ in range(3)]
        assert used.wait(30)
        revoke_key(LOCAL, new.key.prefix, runtime=accounts)
        is_revoked.set()
        for one in running:
            one.result(30)
    assert late == []
    (key,) = list_keys(LOCAL, runtime=accounts)
    assert key.revoked_at is not None


def test_a_key_that_is_made_while_its_user_is_disabled_opens_nothing(
    accounts: AccountParts,
) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    for _ in range(5):
        calls: Iterator[Callable[..., User | NewKey]] = iter([create_key, disable_user, create_key])
        found = at_once(lambda: next(calls)(LOCAL, "ada", runtime=accounts), 3)  # noqa: B023
        assert [key for key in list_keys(LOCAL, runtime=accounts) if not key.revoked_at] == []
        enable_user(LOCAL, "ada", runtime=accounts)
        for new in found:
            if isinstance(new, NewKey):
                with pytest.raises(AuthenticationError):
                    by_key(new.secret, accounts)
