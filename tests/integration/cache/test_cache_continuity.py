"""Whether the store can have lost something: what is noticed, and what is not mistaken for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache import CacheManager
from cache.coordination.data_loss import Continuity
from domain.errors import StoreUnavailableError
from tests.support.build import cache_manager
from tests.support.store import StoreServer


class Clock:
    """Our clock, as a test sets it; the store's runs on by itself."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["private_store", "private_stand_in"])
def server(request: pytest.FixtureRequest) -> StoreServer:
    """A server that has a run id, and one that has none."""
    server: StoreServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def manager(server: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(server) as manager:
        yield manager


@pytest.fixture
def continuity(manager: CacheManager) -> Continuity:
    return manager.continuity


def test_time_counts_from_the_first_look(continuity: Continuity) -> None:
    assert continuity.observe() == 0
    first = continuity.observe()
    assert 0 < first < 5
    assert continuity.observe() > first


def test_two_watchers_do_not_disturb_each_other(
    continuity: Continuity, server: StoreServer
) -> None:
    with cache_manager(server) as other:
        assert continuity.observe() == other.continuity.observe() == 0
        assert continuity.observe() > 0
        assert other.continuity.observe() > 0


def test_an_emptied_store_begins_anew(continuity: Continuity, server: StoreServer) -> None:
    continuity.observe()
    server.flush()
    assert continuity.observe() == 0
    assert continuity.observe() > 0


@pytest.mark.parametrize("lose_data", [True, False])
def test_a_store_that_restarted_begins_anew(
    continuity: Continuity, server: StoreServer, lose_data: bool
) -> None:
    """Also one that has all its data: they may be those of an hour ago."""
    continuity.observe()
    server.restart(lose_data=lose_data)
    assert continuity.observe() == 0
    assert continuity.observe() > 0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_jumps_may_have_ended_lives(
    continuity: Continuity, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """Seen from the store ours jumps; only the difference between the two is known."""
    clock = Clock()
    monkeypatch.setattr("cache.coordination.data_loss.lease_clock", clock)
    continuity.observe()
    clock.now += 0.5
    assert continuity.observe() == 0.5
    clock.now += step
    assert continuity.observe() == 0


def test_without_store_nothing_is_known(continuity: Continuity, server: StoreServer) -> None:
    continuity.observe()
    server.stop()
    with pytest.raises(StoreUnavailableError):
        continuity.observe()


@pytest.mark.parametrize(
    "refusal",
    [
        "NOPERM this user has no permissions to run the 'info' command",
        "ERR unknown command 'INFO'",
    ],
)
def test_server_that_does_not_tell_its_name_may_have_restarted(
    private_stand_in: StoreServer, refusal: str
) -> None:
    with cache_manager(private_stand_in) as manager:
        private_stand_in.refuse(refusal, commands=["INFO"])
        assert manager.continuity.observe() == 0
        assert manager.continuity.observe() == 0
        private_stand_in.accept()
        assert manager.continuity.observe() == 0
        assert manager.continuity.observe() > 0
