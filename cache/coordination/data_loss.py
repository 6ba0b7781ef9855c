"""Whether the store has kept what it was given: how long it has been the same, with the same data.

A key that is gone means something only where it cannot have been lost. A store that restarts, is
emptied, comes back from a snapshot, or whose clock jumps, may have lost any key that was there.
"""

from __future__ import annotations

import secrets
from typing import Any

from cache.clock import lease_clock
from cache.keys import KeyBuilder
from cache.stats import parse_info
from cache.store.flow import Batch, Flow
from cache.store.operation import Operations, S, operation

#: A store's clock that moves by more than this against ours, between two looks, has jumped. Seconds.
_JUMP = 1.0


class DataLossDetector(Operations[S]):
    """Watches one store; knows only what it has seen itself.

    A mark without TTL lies in the store: when it is gone, or another one is there, data was lost. A
    restart from an old snapshot brings the mark back, so each server process has to have a name, too
    (see `_server_name`). A server that tells none may have restarted between any two looks.
    """

    def __init__(self, store: S, keys: KeyBuilder) -> None:
        super().__init__(store)
        self._key = keys.data_loss_marker_key()
        self._seen: tuple[Any, ...] = ()
        self._offset = self._since = 0.0

    @operation
    def seconds_without_loss(self) -> Flow[float]:
        """Return for how many seconds nothing can have been lost.

        0 at the first look, and at each one where the server does not tell its name. Raises
        StoreUnavailableError when the store does not answer.
        """
        sent_at = lease_clock()
        token = secrets.token_hex(8)
        name = yield from _server_name()
        _, mark, (seconds, micros) = yield Batch(
            ("SET", self._key, token, "NX"), ("GET", self._key), ("TIME",)
        )
        now = lease_clock()
        offset = int(seconds) + int(micros) / 1e6 - now
        seen = (mark, name)
        # An answer that took long tells its time that much less exactly.
        jumped = abs(offset - self._offset) > _JUMP + (now - sent_at)
        if seen != self._seen or jumped or name is None:
            self._seen, self._since = seen, sent_at
        self._offset = offset
        return sent_at - self._since


def _server_name() -> Flow[str | None]:
    """Return what names this very server process, or None where INFO does not tell or is not allowed.

    Redis and Valkey have `run_id`. Dragonfly has none; its `master_replid` is new at every start.
    """
    replies = yield Batch(("INFO", "server"), ("INFO", "replication"), errors_as_replies=True)
    told = parse_info(b"\n".join(reply for reply in replies if isinstance(reply, bytes)))
    return told.get("run_id") or told.get("master_replid")
