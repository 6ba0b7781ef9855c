"""Whether the store can have lost something: what is noticed, and what is not mistaken for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache import CacheManager
from cache.coordination.data_loss import DataLossDetector
from domain.errors import StoreUnavailableError
from tests.support.build import cache_manager
from tests.support.stores.server import StoreServer


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
def data_loss(manager: CacheManager) -> DataLossDetector:
    return manager.data_loss


def test_time_counts_from_the_first_look(data_loss: DataLossDetector) -> None:
    assert data_loss.seconds_without_loss() == 0
    first = data_loss.seconds_without_loss()
    assert 0 < first < 5
    assert data_loss.seconds_without_loss() > first


def test_two_watchers_do_not_disturb_each_other(
    data_loss: DataLossDetector, server: StoreServer
) -> None:
    with cache_manager(server) as other:
        assert data_loss.seconds_without_loss() == other.data_loss.seconds_without_loss() == 0
        assert data_loss.seconds_without_loss() > 0
        assert other.data_loss.seconds_without_loss() > 0


def test_an_emptied_store_counts_as_data_loss(
    data_loss: DataLossDetector, server: StoreServer
) -> None:
    data_loss.seconds_without_loss()
    server.flush()
    assert data_loss.seconds_without_loss() == 0
    assert data_loss.seconds_without_loss() > 0


@pytest.mark.parametrize("lose_data", [True, False])
def test_a_restarted_store_counts_as_data_loss(
    data_loss: DataLossDetector, server: StoreServer, lose_data: bool
) -> None:
    """Also one that has all its data: they may be those of an hour ago."""
    data_loss.seconds_without_loss()
    server.restart(lose_data=lose_data)
    assert data_loss.seconds_without_loss() == 0
    assert data_loss.seconds_without_loss() > 0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_jumps_may_have_ended_lives(
    data_loss: DataLossDetector, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """Seen from the store ours jumps; only the difference between the two is known."""
    clock = Clock()
    monkeypatch.setattr("cache.coordination.data_loss.lease_clock", clock)
    data_loss.seconds_without_loss()
    clock.now += 0.5
    assert data_loss.seconds_without_loss() == 0.5
    clock.now += step
    assert data_loss.seconds_without_loss() == 0


def test_without_store_nothing_is_known(data_loss: DataLossDetector, server: StoreServer) -> None:
    data_loss.seconds_without_loss()
    server.stop()
    with pytest.raises(StoreUnavailableError):
        data_loss.seconds_without_loss()


@pytest.mark.parametrize(
    "refusal",
    [
        "NOPERM this user has no permissions to run the 'info' command",
        "ERR unknown command 'INFO'",
    ],
)
def test_a_server_without_a_run_id_may_have_restarted(
    private_stand_in: StoreServer, refusal: str
) -> None:
    with cache_manager(private_stand_in) as manager:
        private_stand_in.refuse(refusal, commands=["INFO"])
        assert manager.data_loss.seconds_without_loss() == 0
        assert manager.data_loss.seconds_without_loss() == 0
        private_stand_in.accept()
        assert manager.data_loss.seconds_without_loss() == 0
        assert manager.data_loss.seconds_without_loss() > 0
