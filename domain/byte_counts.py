"""The byte counts of one download, as one record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ByteCounts:
    """How much of one file there is.

    Attributes:
        downloaded: bytes written to the part file.
        durable: how many of them survive a power cut.
        total: bytes the file has; None while unknown.
    """

    downloaded: int = 0
    durable: int = 0
    total: int | None = None
