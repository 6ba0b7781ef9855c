"""Responses that are stored for repeated requests: the first request of a key counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from database import Database
from database.accounts import IdempotentRequests, StoredResponse
from tests.support.databases import emptied

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def requests(database: Database) -> IdempotentRequests:
    return IdempotentRequests(emptied(database))


def test_the_first_response_is_kept(requests: IdempotentRequests) -> None:
    assert requests.start("ada", "k", "d1", now=NOW) is None
    assert requests.start("ada", "k", "d2", now=NOW) == StoredResponse(
        digest="d1", status=None, response=None
    )
    requests.finish("ada", "k", status=201, response="{}")
    requests.finish("ada", "k", status=500, response="later")
    assert requests.start("ada", "k", "d1", now=NOW) == StoredResponse(
        digest="d1", status=201, response="{}"
    )


@pytest.mark.parametrize(
    ("user", "key"), [(None, "k"), ("bob", "k"), ("ada", "K"), ("ad", "a\nk"), ("ada", "\udcff")]
)
def test_keys_of_others_are_other_keys(
    requests: IdempotentRequests, user: str | None, key: str
) -> None:
    requests.start("ada", "k", "d", now=NOW)
    assert requests.start(user, key, "d", now=NOW) is None


def test_one_of_several_requests_is_the_first(requests: IdempotentRequests) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: requests.start("ada", "k", "d", now=NOW), range(16)))
    assert found.count(None) == 1


def test_forgotten_and_old_ones_are_deleted(requests: IdempotentRequests) -> None:
    for number in range(3):
        requests.start("ada", f"k{number}", "d", now=NOW + timedelta(hours=number))
    requests.forget("ada", "k2")
    assert requests.start("ada", "k2", "other", now=NOW) is None
    assert requests.purge(NOW + timedelta(hours=1)) == 2
    assert requests.start("ada", "k0", "d", now=NOW) is None
    assert requests.start("ada", "k1", "d", now=NOW) is not None
