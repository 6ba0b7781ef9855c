"""A signal that comes while a connection is made: what follows it, such as an orderly end, is served."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from tests.support.build import cache_manager
from tests.support.stores.server import StoreServer


def test_a_half_made_connection_is_not_used(
    store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a signal between the socket and what reads from it."""
    make, signals = hiredis.Reader, [KeyboardInterrupt, SystemExit]

    def interrupted(**options: Any) -> Any:
        if signals:
            raise signals.pop()
        return make(**options)

    monkeypatch.setattr(hiredis, "Reader", interrupted)
    with cache_manager(store) as manager:
        for signal in (SystemExit, KeyboardInterrupt):
            with pytest.raises(signal):
                manager.service.set("seen:x", 1, 60)
        manager.service.set("seen:x", 2, 60)
        assert manager.service.get("seen:x", int) == 2
        assert manager.ping()
