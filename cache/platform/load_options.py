"""The options of `get_or_load`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypedDict, Unpack

from cache import arguments
from cache.arguments import Duration
from cache.store.flow import Flow

BeforeStoring = Callable[[Any, int, int], Flow[bool]]


class LoadChoices(TypedDict, total=False):
    """The optional arguments of `get_or_load`; `LoadOptions` has their meaning and defaults."""

    miss_ttl: Duration
    stale_for: Duration
    early: float
    wait: Duration
    load_timeout: Duration
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How one key is loaded. Times in seconds; the constructor `of` also accepts timedeltas."""

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
    before_storing: BeforeStoring | None = None
    """Called with the loaded value, the start of the load (milliseconds since the epoch, the server's
    clock) and the TTL in milliseconds. The value is stored only if it returns True."""

    @classmethod
    def of(
        cls,
        ttl: Duration,
        before_storing: BeforeStoring | None = None,
        **choices: Unpack[LoadChoices],
    ) -> Self:
        """Check the arguments of a `get_or_load`; raise InvalidInputError for an invalid one."""
        checked = {name: _checked(name, value) for name, value in choices.items()}
        arguments.milliseconds(ttl, checked.get("jitter", 0.0))
        ttl = arguments.seconds("ttl", ttl)
        return cls(ttl=ttl, before_storing=before_storing, **checked)


def _checked(name: str, value: Any) -> float:
    if name in ("early", "jitter"):
        return arguments.number(name, value)
    if name in ("miss_ttl", "load_timeout"):
        arguments.milliseconds(value, field=name)
    return arguments.seconds(name, value)
