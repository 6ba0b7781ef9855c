"""What `get_or_load` works on: one caller's request, and what is stored at its key."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cache.arguments import milliseconds
from cache.platform import codec
from cache.platform.client_side_cache import Fetched
from cache.platform.inflight_loads import InflightLoad
from cache.platform.load_options import LoadOptions

T = TypeVar("T")


@dataclass(slots=True)
class CachedValue(Generic[T]):
    """What is stored at a key: a value, a cached miss, or only a claim."""

    raw: bytes
    value: T | None = None
    is_miss: bool = False
    """A loader found that there is no value."""
    fresh_until_ms: int | None = None
    """Milliseconds since the epoch; None: fresh as long as it exists."""
    took_ms: int = 0
    """How long its loader ran."""
    fetched: Fetched | None = None
    """The entry that the client-side cache has reserved for it."""

    @property
    def head(self) -> bytes:
        """Its first bytes: `load_claim` compares them to detect a change."""
        return self.raw[: codec.LOADED_HEAD_BYTES]

    def is_claimed_by(self, load: InflightLoad | None) -> bool:
        """Return whether `load` holds the claim on the key."""
        return load is not None and codec.token_of(self.head) == load.token

    @property
    def is_answer(self) -> bool:
        """Whether it is a value or a cached miss, however old."""
        return self.value is not None or self.is_miss


@dataclass(frozen=True, slots=True)
class LoadRequest(Generic[T]):
    """One call of `get_or_load`."""

    key: str
    model: type[T]
    loader: Callable[[], Any]
    options: LoadOptions
    arrived_at: float
    """By the monotonic clock."""

    @property
    def name(self) -> Any:
        """Requests with the same name share a load."""
        return self.key, self.model

    def wait_left(self) -> float:
        """Return the seconds for which this caller still waits for another one's loader."""
        return self.arrived_at + self.options.wait - time.monotonic()

    def encode(self, value: T | None, now_ms: int, took_ms: int) -> tuple[bytes, int]:
        """Return the bytes to store for a loaded value, and their TTL in milliseconds.

        Args:
            now_ms: when the load started: milliseconds since the epoch, by the server's clock.
            took_ms: how long the loader ran.
        """
        options = self.options
        fresh_ms = milliseconds(options.miss_ttl if value is None else options.ttl, options.jitter)
        times = {"fresh_until_ms": now_ms + took_ms + fresh_ms, "took_ms": took_ms}
        if value is None:
            raw = codec.encode_missing(self.model, **times)
        else:
            raw = codec.encode_loaded(value, self.model, **times)
        return raw, fresh_ms + round(options.stale_for * 1000)
