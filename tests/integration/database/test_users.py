"""Users: written, changed, and made once when many make them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from database import Database, User, UserRepository
from tests.support.databases import emptied


@pytest.fixture
def users(database: Database) -> UserRepository:
    return UserRepository(emptied(database))


def test_a_user_is_written_and_changed(users: UserRepository) -> None:
    user = User(id="user-456", email="user@example.com", display_name="User Name")
    assert users.get(user.id) is None
    users.save(user)
    assert users.get(user.id) == user
    renamed = User(id=user.id, email="new@example.com", display_name="ü", role="admin")
    users.save(renamed)
    assert users.get(user.id) == renamed


def test_many_may_write_one_new_user_at_once(users: UserRepository) -> None:
    made = [User(id=f"u{n // 8}", email=f"{n}", display_name="d") for n in range(160)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(users.save, made))
    assert all(users.get(f"u{number}") for number in range(20))
