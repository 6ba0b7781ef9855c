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
from cache.store.operation import Operations, S, operation
from cache.store.plan import Batch, Plan

#: A store's clock that moves by more than this against ours, between two looks, has jumped. Seconds.
_JUMP = 1.0
#: Servers tell in whole seconds for how long they have run.
_COARSE = 2.0


class Continuity(Operations[S]):
    """Watches one store; knows only what it has seen itself.

    A mark without TTL lies in the store: who finds it gone, or another one, knows that data went. The
    server's run id tells of a restart, which an old snapshot would hide: the mark is in it, too.
    Dragonfly has none; there, how long it has run tells.
    """

    def __init__(self, store: S, keys: KeyBuilder) -> None:
        super().__init__(store)
        self._key = keys.continuity_key()
        self._seen: tuple[Any, ...] = ()
        self._offset = self._started = self._since = 0.0

    @operation
    def observe(self) -> Plan[float]:
        """Return for how many seconds nothing can have been lost; 0 at the first look.

        Raises StoreUnavailableError when the store does not answer.
        """
        asked_at = lease_clock()
        token = secrets.token_hex(8)
        _, mark, info, (seconds, micros) = yield Batch(
            ("SET", self._key, token, "NX"), ("GET", self._key), ("INFO", "server"), ("TIME",)
        )
        now = lease_clock()
        offset = int(seconds) + int(micros) / 1e6 - now
        server = parse_info(info)
        seen = (mark, server.get("run_id"))
        started = now - int(server.get("uptime_in_seconds", 0))
        # An answer that took long tells its time that much less exactly.
        jumped = abs(offset - self._offset) > _JUMP + (now - asked_at)
        restarted = started > self._started + _COARSE + (now - asked_at)
        if seen != self._seen or jumped or restarted:
            self._seen, self._since, self._started = seen, asked_at, started
        self._offset = offset
        return asked_at - self._since
