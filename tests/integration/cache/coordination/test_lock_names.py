"""Names, keys and times of locks: which names are the service's own, and which values are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cache import CacheManager, HeldLock
from cache.coordination.lock import LockHandle
from domain.errors import InvalidInputError

KEY = "seen:lock:x"


# ── names ───────────────────────────────────────────────────────────────────────────────────────

#: Names of an application's locks, and what they are: its own, shared with the service, or refused.
NAMES = {
    "report:7": "own",
    "beats": "own",
    "app:beat": "own",
    "Beat": "own",
    "app:task:download.requeue_due": "own",
    "download": "own",
    # The lock of a download is an agreement between the service and its callers, who may hold it, too.
    "download:job-1": "shared",
    "beat": "refused",
    "beat:anything": "refused",
    "task": "refused",
    "task:download.requeue_due": "refused",
    "task:sweep:host": "refused",
}


def _hold(manager: CacheManager, name: str) -> None:
    with manager.session.lock(name):
        pass


LOCKING: dict[str, Callable[[CacheManager, str], Any]] = {
    "acquire_lock": lambda manager, name: manager.session.acquire_lock(name),
    "extend_lock": lambda manager, name: manager.session.extend_lock(name, "token"),
    "release_lock": lambda manager, name: manager.session.release_lock(name, "token"),
    "lock": _hold,
}


@pytest.mark.parametrize("method", LOCKING)
def test_names_of_the_services_locks_are_refused(manager: CacheManager, method: str) -> None:
    for name, verdict in NAMES.items():
        if verdict == "refused":
            with pytest.raises(InvalidInputError, match="The service reserves this name"):
                LOCKING[method](manager, name)
        else:
            LOCKING[method](manager, name)
    assert not manager.client.exists("seen:lock:task:download.requeue_due")


def test_the_lock_of_a_download_is_shared_with_its_worker(manager: CacheManager) -> None:
    grant = manager.session.acquire_lock("download:job-1")
    assert manager.client.get("seen:lock:download:job-1") == grant.lock_id.encode()
    assert not manager.download_lock("job-1").acquire()
    assert manager.session.release_lock("download:job-1", grant.lock_id)
    assert manager.download_lock("job-1").acquire()


def test_the_services_locks_have_the_keys_of_older_versions(manager: CacheManager) -> None:
    """While a service is upgraded, old and new processes have to exclude each other."""
    assert manager.lock("task:download.requeue_due").key == "seen:lock:task:download.requeue_due"
    assert manager.download_lock("job-1").key == "seen:lock:download:job-1"


def test_wrong_lives_and_waits_are_refused_when_the_lock_is_made(manager: CacheManager) -> None:
    for wrong in (0, -1, float("nan"), float("inf"), True, None, "30", 2**70):
        with pytest.raises(InvalidInputError, match="ttl"):
            manager.session.lock("x", ttl=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="ttl"):
            LockHandle(manager.store, KEY, ttl=wrong)  # type: ignore[arg-type]
        if wrong != 0:
            with pytest.raises(InvalidInputError, match="wait"):
                HeldLock(manager.store, KEY, ttl=1, wait=wrong)  # type: ignore[arg-type]
