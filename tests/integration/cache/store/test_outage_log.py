"""What a store that stops and starts leaves in the log and in the counts."""

from __future__ import annotations

import pytest

from cache import CacheManager
from tests.support.build import Connect
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


def use(manager: CacheManager) -> None:
    manager.catalog.set_watch_later("ada", ["film"])
    manager.session.get_session("s-1")
    manager.session.rate_limit_check("ada", "login", 1)
    manager.session.rate_limit_check("ada", "pay", 1, fail="closed")


@pytest.mark.parametrize("client_side_entries", [0, 100])
def test_an_outage_is_logged_at_its_start_and_its_end(
    private_store: StoreServer,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    client_side_entries: int,
) -> None:
    caplog.set_level("INFO", "cache")
    with connect(private_store, cache_client_side_entries=client_side_entries) as manager:
        use(manager)
        assert (caplog.messages, manager.counts().undecided_rate_limits) == ([], 0)
        for outage in (1, 2):
            private_store.kill()
            for _ in range(10):
                use(manager)
            assert manager.counts().undecided_rate_limits == 20 * outage
            (lost,) = (one for one in caplog.records if "does not answer" in one.getMessage())
            assert (lost.levelname, len(caplog.records)) == ("WARNING", 1)
            for part in (private_store.addr, "misses", "dropped", "`fail`"):
                assert part in lost.getMessage()
            private_store.start()
            wait_until(lambda: manager.service.set("seen:x", 1, 60), what="a value that is stored")
            (back,) = caplog.records[1:]
            assert (back.levelname, private_store.addr in back.getMessage()) == ("INFO", True)
            caplog.clear()


def test_a_store_that_was_never_there_is_logged_at_the_first_call(
    free_port: int, store: StoreServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(store, cache_addr=f"127.0.0.1:{free_port}") as manager:
        assert manager.session.rate_limit_check("ada", "login", 1).allowed
        assert [one.levelname for one in caplog.records] == ["WARNING"]
        for _ in range(10):
            use(manager)
    assert len(caplog.records) == 1
    assert manager.counts().undecided_rate_limits == 21
