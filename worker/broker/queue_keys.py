"""The keys that a consumer reads messages from, without those that hold another type than a list.

One BRPOP names all queues, and the server refuses it when any of their keys has another type. Such a key
is left out and tried again every 10 s, so that the other queues are served.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds until a key that was left out is tried again.
RETRY_AFTER = 10.0

#: A pipeline puts text before the server's message.
_WRONG_TYPE = re.compile(r"(^|: )WRONGTYPE\b")


class QueueKeys:
    """The keys of one consumer."""

    def __init__(self) -> None:
        self._requested: list[str] = []
        self._left_out: dict[str, str] = {}
        self._retry_at = 0.0

    def usable(self, keys: Sequence[str]) -> list[str]:
        """Return `keys` without those that held no list at the last look at their types."""
        self._requested = list(keys)
        if self._left_out and time.monotonic() < self._retry_at:
            return [key for key in keys if key not in self._left_out]
        return self._requested

    def look_at_types(self, client: Any) -> None:
        """Find the keys of another type, and log each once."""
        found = wrong_types(client, self._requested)
        for key, kind in found.items():
            if self._left_out.get(key) != kind:
                logger.error(
                    "The key %s of the broker holds a %s where a queue's list is expected: it is left "
                    "out until it is renamed or deleted; the other queues go on",
                    key,
                    kind,
                )
        self._left_out = found
        self._retry_at = time.monotonic() + RETRY_AFTER


def wrong_types(client: Any, keys: Iterable[str], expected: str = "list") -> dict[str, str]:
    """Return those of `keys` that hold another type than expected, with that type."""
    names = list(keys)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
        types = [kind.decode() for kind in pipe.execute()]
    return {
        name: kind
        for name, kind in zip(names, types, strict=True)
        if kind not in (expected, "none")
    }


def is_wrong_type(error: BaseException | None) -> bool:
    """Return whether the server refused a command because a key holds another type."""
    return _WRONG_TYPE.search(str(error)) is not None
