"""Detects that the store may have lost data: a missing lock then does not mean a dead worker.

A store loses data when it restarts, is emptied, or returns from a snapshot; a jump of its clock expires
keys early.
"""

from __future__ import annotations

import secrets
from typing import Any

from cache.clock import lease_clock
from cache.coordination.server_id import server_id
from cache.keys import KeyBuilder
from cache.store.flow import Batch, Flow
from cache.store.operation import Operations, S, operation

#: If the store's clock moves by more than this against ours, between two calls, it has jumped. Seconds.
_JUMP = 1.0


class DataLossDetector(Operations[S]):
    """Watches one store from this process.

    A marker without a TTL is kept in the store. If it is missing or differs, data was lost. A snapshot
    brings an old marker back, so the id of the server process is compared too (`server_id`). A
    server without an id may have restarted between any two calls.
    """

    def __init__(self, store: S, keys: KeyBuilder) -> None:
        super().__init__(store)
        self._key = keys.data_loss_marker_key()
        self._seen: tuple[Any, ...] = ()
        self._offset = self._since = 0.0

    @operation
    def seconds_without_loss(self) -> Flow[float]:
        """Return the seconds for which this process has watched the store without a sign of data loss.

        0 at the first call, and at every call if the server has no id. Raises StoreUnavailableError if
        the store does not answer.
        """
        sent_at = lease_clock()
        token = secrets.token_hex(8)
        found = yield from server_id()
        _, marker, (seconds, micros) = yield Batch(
            ("SET", self._key, token, "NX"), ("GET", self._key), ("TIME",)
        )
        now = lease_clock()
        offset = int(seconds) + int(micros) / 1e6 - now
        seen = (marker, found)
        # The time in the reply is uncertain by the duration of the round trip.
        jumped = abs(offset - self._offset) > _JUMP + (now - sent_at)
        if seen != self._seen or jumped or found is None:
            self._seen, self._since = seen, sent_at
        self._offset = offset
        return sent_at - self._since
