"""Finds keys of the service that hold another Redis type than the service writes, for `seen doctor`."""

from __future__ import annotations

from collections.abc import Mapping

from cache.keys import KeyBuilder
from cache.store.flow import Batch, Flow


def expected_types(keys: KeyBuilder) -> Mapping[str, str]:
    """Return the keys that all processes share, with the type that each has if it exists."""
    return {
        keys.active_downloads_key(): "zset",
        keys.dirty_downloads_key(): "zset",
        keys.download_rate_key(): "hash",
        keys.limits_key(): "hash",
        keys.beat_key(): "hash",
        keys.workers_key(): "zset",
        keys.data_loss_marker_key(): "string",
    }


def keys_of_wrong_type(keys: KeyBuilder) -> Flow[dict[str, str]]:
    """Return the shared keys of another type, with that type."""
    expected = expected_types(keys)
    found = yield Batch(*(("TYPE", key) for key in expected))
    types = zip(expected, (kind.decode() for kind in found), strict=True)
    return {key: kind for key, kind in types if kind not in (expected[key], "none")}
