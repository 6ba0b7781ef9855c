"""The keys that a consumer asks for messages, without those that hold something else than a list.

One BRPOP names all queues, and the server refuses it when any of their keys has another type. Such a key
is left out and looked at again from time to time, so that the other queues go on.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds until a key that was left out is asked again.
RETRY_AFTER = 10.0

#: A pipeline puts words before the server's.
_WRONG_TYPE = re.compile(r"(^|: )WRONGTYPE\b")


class QueueKeys:
    """The keys of one consumer."""

    def __init__(self) -> None:
        self._asked: list[str] = []
        self._left_out: dict[str, str] = {}
        self._retry_at = 0.0

    def usable(self, keys: Sequence[str]) -> list[str]:
        """Return `keys` without those that were found to hold no list a short while ago."""
        self._asked = list(keys)
        if self._left_out and time.monotonic() < self._retry_at:
            return [key for key in keys if key not in self._left_out]
        return self._asked

    def look_at_types(self, client: Any) -> None:
        """Find the keys whose type the server refused, and say once which they are."""
        found = wrong_types(client, self._asked)
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
    """Return those of `keys` that hold something else than what is expected, with its type."""
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
    """Say whether the server refused a command because a key holds another type."""
    return _WRONG_TYPE.search(str(error)) is not None
