"""Users: added once, disabled, enabled, given roles; the admin whom `seen up` signs in."""

from __future__ import annotations

from itertools import product

import pytest

from database.accounts import User, UserRepository
from domain.access import Principal, Role
from domain.access.errors import UnknownUserError, UserExistsError
from domain.errors import ForbiddenError, InvalidInputError
from tasks.api.accounts import (
    AccountParts,
    add_user,
    any_admin,
    disable_user,
    enable_user,
    list_users,
    set_role,
)
from tests.support.accounts import LOCAL, by_key, user_with_key


def test_users_are_added_once_and_never_replaced(accounts: AccountParts) -> None:
    added = add_user(LOCAL, "ada", "viewer", runtime=accounts)
    assert (added.id, added.role, added.is_enabled) == ("ada", "viewer", True)
    assert added.created_at is not None
    disable_user(LOCAL, "ada", runtime=accounts)
    with pytest.raises(UserExistsError):
        add_user(LOCAL, "ada", "admin", runtime=accounts)
    (ada,) = list_users(LOCAL, runtime=accounts)
    assert (ada.role, ada.is_enabled) == ("viewer", False)


def test_a_wrong_name_or_role_adds_no_one(accounts: AccountParts) -> None:
    for name, role in (("Ada", "user"), ("ada", "root"), ("", "user")):
        with pytest.raises(InvalidInputError):
            add_user(LOCAL, name, role, runtime=accounts)
    assert list_users(LOCAL, runtime=accounts) == []


def test_disabling_twice_keeps_the_first_time(accounts: AccountParts) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    first = disable_user(LOCAL, "ada", runtime=accounts)
    assert disable_user(LOCAL, "ada", runtime=accounts) == first
    assert enable_user(LOCAL, "ada", runtime=accounts).is_enabled
    assert enable_user(LOCAL, "ada", runtime=accounts).is_enabled


def _give_role(principal: Principal, name: str, *, runtime: AccountParts) -> User:
    return set_role(principal, name, "admin", runtime=runtime)


def test_users_that_there_are_not(accounts: AccountParts) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    names = ("bob", "", "Ada", "\x1b[31m", "x" * 10_000, "' OR 1=1 --")
    for change, name in product((disable_user, enable_user, _give_role), names):
        with pytest.raises(UnknownUserError) as caught:
            change(LOCAL, name, runtime=accounts)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200
    (ada,) = list_users(LOCAL, runtime=accounts)
    assert (ada.role, ada.is_enabled) == ("user", True)


def test_only_the_scope_admin_manages_users(accounts: AccountParts) -> None:
    for role in Role:
        # Keys have no scope `admin` unless it was asked for.
        principal = by_key(user_with_key(accounts, f"{role}1", role).secret, accounts)
        for change in (disable_user, enable_user, _give_role):
            with pytest.raises(ForbiddenError):
                change(principal, f"{role}1", runtime=accounts)
        with pytest.raises(ForbiddenError):
            add_user(principal, "bob", "user", runtime=accounts)
        with pytest.raises(ForbiddenError):
            list_users(principal, runtime=accounts)


def test_users_of_other_programs_are_found_by_the_ids_they_have(accounts: AccountParts) -> None:
    users = UserRepository(accounts.database)
    users.save(User(id="User-456@example.com", email="e", display_name="d", role="premium"))
    assert set_role(LOCAL, "User-456@example.com", "viewer", runtime=accounts).role == "viewer"
    users.save(User(id="User-456@example.com", email="f", display_name="d", role="user"))
    assert disable_user(LOCAL, "User-456@example.com", runtime=accounts).email == "f"
    users.save(User(id="User-456@example.com", email="g", display_name="d", role="user"))
    (found,) = list_users(LOCAL, runtime=accounts)
    assert (found.email, found.is_enabled) == ("g", False), "writing a profile enables no one"


def test_the_admin_of_a_new_service_is_made_once(accounts: AccountParts) -> None:
    first = any_admin(runtime=accounts)
    assert first is not None
    assert (first.id, first.role) == ("admin", "admin")
    assert any_admin(runtime=accounts) == first
    assert len(list_users(LOCAL, runtime=accounts)) == 1


def test_no_admin_is_made_where_a_person_has_chosen_users(accounts: AccountParts) -> None:
    any_admin(runtime=accounts)
    disable_user(LOCAL, "admin", runtime=accounts)
    assert any_admin(runtime=accounts) is None
    add_user(LOCAL, "zoe", "admin", runtime=accounts)
    found = any_admin(runtime=accounts)
    assert found is not None
    assert found.id == "zoe"
