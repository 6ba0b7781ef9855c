"""What the proofs of the transfer share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.tls import Authority
from tests.support.services.system import System
from tests.support.services.transferring import Direct, Downloads


@pytest.fixture
def downloads(system: System) -> Iterator[Downloads]:
    """Jobs of the service, run here; a transfer tries nothing again by itself."""
    downloads = Downloads(system)
    yield downloads
    downloads.close()


@pytest.fixture
def persistent(system: System) -> Iterator[Downloads]:
    """The same, which try three times again before a job has to wait, also what stands still."""
    downloads = Downloads(system, short_retries=3, low_speed_time=1)
    yield downloads
    downloads.close()


@pytest.fixture
def short_timeouts(system: System) -> Iterator[Downloads]:
    """Downloads that wait a second for an origin that says nothing."""
    downloads = Downloads(system, low_speed_time=1)
    yield downloads
    downloads.close()


@pytest.fixture
def direct(tmp_path: Path) -> Direct:
    """A bare transfer."""
    return Direct(tmp_path / "direct")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An issuer of certificates that is not trusted by default."""
    return Authority(tmp_path)
