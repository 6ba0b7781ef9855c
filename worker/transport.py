"""kombu's Redis transport, as this app uses it."""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

_Channel: Any = kombu_redis.Channel  # their stubs lack what a subclass may do
_Transport: Any = kombu_redis.Transport


class Channel(_Channel):  # type: ignore[misc]
    """A channel that leaves the sweep of bindings to `worker.broker_sweep`."""

    def sweep_bindings(self, limit: int = 100) -> int:  # noqa: ARG002 - kombu's signature
        """Sweep nothing: kombu's script must not reach Dragonfly.

        It touches keys that it does not declare, which Dragonfly refuses; and Dragonfly 1.36 to 1.40.1
        aborts at a script that is flagged to be allowed so and is not loaded. What the script removes
        (tables of bindings that no consumer has renewed for an hour), `broker.sweep` removes entry by
        entry, without a script.
        """
        return 0


class Transport(_Transport):  # type: ignore[misc]
    """The transport of every ``redis://``, ``rediss://`` and ``redis+socket://`` broker of this app."""

    Channel = Channel


def use_it() -> None:
    """Have kombu take this transport for the addresses of Redis; a URL names no other one."""
    name = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
