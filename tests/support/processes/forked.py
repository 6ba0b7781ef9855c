"""A process with a client-side cache that forks, as pre-forking servers do. Run, not imported:

    python -m tests.support.processes.forked idle|speaking|loading

The store is the one in the environment. It prints what went wrong, if anything, and fails then.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from cache import CacheManager
from cache.platform import codec
from cache.platform.client_side_cache import MAX_SILENCE
from settings import Settings
from tests.support.wait import wait_until

KEY = "seen:catalog:x"


def in_child(work: Callable[[], None]) -> None:
    """Do something in a forked child, and see that it succeeds."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child failed"


def connections(manager: CacheManager) -> set[str]:
    """Every connection to the server, this look's as well. Which ones track, Dragonfly does not tell."""
    return {client["addr"] for client in manager.client.client_list()}


def kept(manager: CacheManager) -> bool:
    """Whether a read is a hit in the client-side cache."""
    before = manager.counts().client_side_hits
    manager.service.get(KEY, int)
    return manager.counts().client_side_hits > before


def idle(manager: CacheManager) -> None:
    """The parent's connection rests while the child has its own, and goes on well afterwards."""
    manager.service.set(KEY, 1, 60)
    wait_until(lambda: kept(manager))
    ours = connections(manager)
    time.sleep(MAX_SILENCE)  # so that the connection must show a sign of life first

    def work() -> None:
        assert manager.counts().hits == 0, "what the parent has counted"
        before = connections(manager)
        assert before >= ours, "the parent's are still open"
        assert manager.service.get(KEY, int) == 1
        assert len(connections(manager) - before) == 1, "a connection of the child's own"
        manager.service.set(KEY, 2, 60)
        wait_until(lambda: kept(manager))
        assert manager.service.get(KEY, int) == 2

    in_child(work)
    wait_until(lambda: manager.service.get(KEY, int) == 2)
    wait_until(lambda: connections(manager) == ours, what="the end of the child's connections")
    wait_until(lambda: kept(manager))


def speaking(manager: CacheManager) -> None:
    """A thread of the parent waits for an answer on the connection when it forks."""
    manager.service.set(KEY, 1, 60)
    manager.service.get(KEY, int)
    client: Any = manager.client
    client.client_pause(1000)
    thread = threading.Thread(target=lambda: manager.service.get("seen:catalog:y", int))
    thread.start()
    time.sleep(0.2)  # the thread has long since asked

    def work() -> None:
        wait_until(lambda: kept(manager), what="a client-side cache that works in the child")

    in_child(work)
    thread.join()


def loading(manager: CacheManager) -> None:
    """A thread of the parent loads when it forks: the child must not wait for that."""
    claim = codec.CLAIM_HEAD + b"t" * codec.TOKEN_BYTES + b"9999999999999" + codec.CLAIM_TAIL
    manager.client.set("seen:load", claim)
    started, go = threading.Event(), threading.Event()

    def loader() -> int:
        started.set()
        go.wait()
        return 1

    # Without patience, it loads beside the claim of somebody else.
    thread = threading.Thread(
        target=lambda: manager.service.get_or_load("seen:load", int, loader, 60, wait=0)
    )
    thread.start()
    started.wait()

    def work() -> None:
        manager.service.delete("seen:load")
        began = time.monotonic()
        assert manager.service.get_or_load("seen:load", int, lambda: 2, 60, wait=20) == 2
        assert time.monotonic() - began < 10, "the child has waited for a thread of its parent"

    in_child(work)
    go.set()
    thread.join()


if __name__ == "__main__":
    with CacheManager.connect(Settings()) as manager:
        {"idle": idle, "speaking": speaking, "loading": loading}[sys.argv[1]](manager)
