"""What the cache layer hands out: typed, immutable values."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, computed_field

from domain.job import JobStatus


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class DownloadProgress(_Value):
    """Where one download stands. Percent and time left are derived, so they cannot disagree."""

    job_id: str
    status: JobStatus
    user_id: str | None = None
    bytes_downloaded: NonNegativeInt = 0
    """Bytes on disk, fsynced or not."""
    bytes_durable: NonNegativeInt = 0
    """Bytes that survive a crash: fsynced and written into the checkpoint."""
    bytes_total: NonNegativeInt | None = None
    """The size of the whole file; None while nobody knows it."""
    download_speed_mbps: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Smoothed speed in megabits (10^6 bits) a second."""
    reason: str | None = None
    error_code: str | None = None
    path: str | None = None
    """The published file, once completed."""
    sha256: str | None = None
    fence: NonNegativeInt = 0
    sequence: NonNegativeInt = 0
    updated_at: datetime | None = None
    """The last sign of life of the worker, by the store's clock."""
    last_byte_at: datetime | None = None
    """When the count of bytes last rose, by the store's clock."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def progress_percent(self) -> float | None:
        """0 to 100 with one decimal, or None when the total is unknown."""
        if self.bytes_total is None:
            return None
        if self.bytes_downloaded >= self.bytes_total:
            return 100.0
        # Rounded down: 100.0 is shown only when every byte is there.
        return self.bytes_downloaded * 1000 // self.bytes_total / 10

    @computed_field  # type: ignore[prop-decorator]
    @property
    def eta_seconds(self) -> int | None:
        """Seconds left at the present speed, or None when that cannot be said."""
        if self.bytes_total is None or self.download_speed_mbps <= 0:
            return None
        bits_left = max(0, self.bytes_total - self.bytes_downloaded) * 8
        return round(bits_left / (self.download_speed_mbps * 1e6))

    @property
    def version(self) -> int:
        """Fence and sequence as one rising number; exact in a sorted set's double up to 2^53."""
        return version(self.fence, self.sequence)


def version(fence: int, sequence: int) -> int:
    """Return the progress version of (fence, sequence): it rises with either, the fence first."""
    return fence * 2**32 + sequence


class HealthReport(_Value):
    """One real round through the store: written, read back, deleted. Times are milliseconds."""

    ok: bool
    write_ms: float
    read_ms: float
    delete_ms: float
    error: str | None = None


class CacheStats(_Value):
    """The store in figures, the same fields on Dragonfly, Redis and Valkey. Memory in bytes."""

    server: Literal["dragonfly", "redis", "valkey"]
    version: str
    db_size: int
    used_memory: int
    max_memory: int
    """0 means no limit."""
    hits: int
    misses: int
    hit_ratio: float | None
    """None until something has been read."""
    evicted_keys: int
    expired_keys: int
    connected_clients: int
    uptime_seconds: int
    keyspace: dict[str, int]
    """Keys by database, ``{"db0": 12}``."""
