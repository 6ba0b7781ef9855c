"""Digests by the names that `domain.files.Checksum` knows."""

from __future__ import annotations

import hashlib
from typing import Protocol

import google_crc32c


class Hasher(Protocol):
    """What computes a digest, as hashlib's objects do."""

    def update(self, data: memoryview, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """Return the digest so far in lower-case hexadecimal."""


class _Crc32c:
    """CRC-32C (Castagnoli), told as eight digits, most significant first."""

    def __init__(self) -> None:
        self._checksum = google_crc32c.Checksum()

    def update(self, data: memoryview, /) -> None:
        self._checksum.update(bytes(data))

    def hexdigest(self) -> str:
        digest: bytes = self._checksum.digest()
        return digest.hex()


def new_hasher(algorithm: str) -> Hasher:
    """Return a fresh hasher for one of `Checksum`'s algorithms."""
    if algorithm == "crc32c":
        return _Crc32c()
    return hashlib.new(algorithm, usedforsecurity=False)
