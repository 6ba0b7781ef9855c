"""The options of `get_or_load`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from cache import arguments
from cache.store.flow import Flow


class LoadChoices(TypedDict, total=False):
    """The optional arguments of `get_or_load`; `LoadOptions` has their meaning and defaults."""

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
    """How long the loader's None is cached."""
    stale_for: float = 0.0
    """How long after `ttl` the old value may be served while one caller loads the new one."""
    early: float = 1.0
    """Factor for refreshing before expiry: 1 is the optimum of the paper, 0 never refreshes early."""
    wait: float = 5.0
    """How long to wait for another caller's loader before running one's own."""
    load_timeout: float = 30.0
    """How long a claim is valid: the longest wait for a loader whose process has died."""
    jitter: float = 0.0
    """Maximum share by which the TTL is randomly shortened."""
    before_storing: Callable[[Any, int, int], Flow[bool]] | None = None
    """Called with the loaded value, the start of the load (milliseconds since the epoch, the server's
    clock) and the TTL in milliseconds. The value is stored only if it returns True."""

    def check(self) -> None:
        """Raise InvalidInputError for an invalid option."""
        arguments.milliseconds(self.ttl, self.jitter)
        for name in ("miss_ttl", "load_timeout"):
            arguments.milliseconds(getattr(self, name), field=name)
        for name in ("stale_for", "early", "wait"):
            arguments.number(name, getattr(self, name))
