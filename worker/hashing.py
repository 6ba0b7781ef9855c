"""Digests by name."""

from __future__ import annotations

import hashlib
from typing import Protocol


class Hasher(Protocol):
    """What computes a digest, as hashlib's objects do."""

    def update(self, data: memoryview, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """Return the digest so far in lower-case hexadecimal."""


def new_hasher(algorithm: str) -> Hasher:
    """Return a fresh hasher."""
    return hashlib.new(algorithm, usedforsecurity=False)
