"""A system without processes: store, database and a runtime in this very process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.store import StoreServer
from tests.support.system import System


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """One on SQLite."""
    with System(tmp_path, store) as system:
        yield system


@pytest.fixture
def any_system(tmp_path: Path, store: StoreServer, database_url: str) -> Iterator[System]:
    """One on each kind of database."""
    with System(tmp_path, store, database_url=database_url) as system:
        yield system
