"""The byte counts of one download, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class CountFields(TypedDict):
    """Byte counts by the names that they have in rows and progress hashes."""

    bytes_downloaded: int
    bytes_durable: int
    bytes_total: int | None


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

    def as_fields(self) -> CountFields:
        """Return the counts as keyword arguments of a `Job` or a `DownloadProgress`."""
        return CountFields(
            bytes_downloaded=self.downloaded, bytes_durable=self.durable, bytes_total=self.total
        )
