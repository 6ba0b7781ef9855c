"""How one key is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from cache import arguments
from cache.store.flow import Flow


class LoadChoices(TypedDict, total=False):
    """What a caller of get_or_load may choose; what is left out is as in `LoadOptions`."""

    miss_ttl: float
    stale_for: float
    early: float
    wait: float
    load_timeout: float
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How one key is loaded. Times in seconds."""

    ttl: float
    """How long a value is fresh."""
    miss_ttl: float = 30.0
    """How long it is remembered that the loader found nothing."""
    stale_for: float = 0.0
    """How long after that an old value may be served while somebody loads it; 0: all wait."""
    early: float = 1.0
    """Eagerness to load before expiry: 1 is the optimum of the paper, 0 never."""
    wait: float = 5.0
    """How long to wait for another caller's loader before running one's own."""
    load_timeout: float = 30.0
    """How long a claim lasts: a loader whose process died is waited for no longer."""
    jitter: float = 0.0
    """Share by which the TTL is shortened at random."""
    before_storing: Callable[[Any, int, int], Flow[bool]] | None = None
    """Asked with the value, the start of its loading (the server's clock, milliseconds since the epoch)
    and its life in milliseconds; False keeps it from being stored."""

    def check(self) -> None:
        """Raise InvalidInputError for an option that makes no sense."""
        arguments.milliseconds(self.ttl, self.jitter)
        for name in ("miss_ttl", "load_timeout"):
            arguments.milliseconds(getattr(self, name), field=name)
        for name in ("stale_for", "early", "wait"):
            arguments.number(name, getattr(self, name))
