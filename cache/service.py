"""The low level of the cache: typed values with a TTL, counters, and patterns without KEYS."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from redis import Redis

from cache.connection import store_errors, without_retries
from cache.keys import KeyBuilder
from domain.errors import InvalidInputError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Keys that one SCAN step looks at, and one UNLINK removes: small enough never to hold up the server.
BATCH = 500


class CacheService:
    """Typed access to the store. Values travel as JSON, checked by pydantic in both directions.

    Keys are given whole (`KeyBuilder` makes them), TTLs in seconds. Every method raises
    StoreUnavailableError when the store does not answer.
    """

    def __init__(self, client: Redis, keys: KeyBuilder) -> None:
        self._client = client
        # redis-py must not repeat what counts.
        self._once = without_retries(client)
        self.keys = keys

    def close(self) -> None:
        """Close the connections of its own; the given client's owner closes that."""
        self._once.close()

    def get(self, key: str, model: type[T]) -> T | None:
        """Return the value of `key` as `model`, or None when there is none.

        A stored value that does not fit `model` is logged, deleted and counts as a miss.
        """
        with store_errors():
            raw = cast("bytes | None", self._client.get(key))
        return None if raw is None else self._decode(key, raw, model)

    def set(self, key: str, value: Any, ttl: float) -> None:
        """Store `value` (anything pydantic can serialise) for `ttl` seconds."""
        with store_errors():
            self._client.set(key, _encode(value), px=_milliseconds(ttl))

    def set_nx(self, key: str, value: Any, ttl: float) -> bool:
        """Store `value` only if `key` does not exist; True when it was stored."""
        with store_errors():
            return bool(self._client.set(key, _encode(value), nx=True, px=_milliseconds(ttl)))

    def mget(self, keys: Sequence[str], model: type[T]) -> dict[str, T]:
        """Return what is there of `keys`, in one round trip; missing keys are left out."""
        if not keys:
            return {}
        with store_errors():
            raws = cast("list[bytes | None]", self._client.mget(keys))
        found = {}
        for key, raw in zip(keys, raws, strict=True):
            value = None if raw is None else self._decode(key, raw, model)
            if value is not None:
                found[key] = value
        return found

    def mset(self, values: Mapping[str, Any], ttl: float) -> None:
        """Store several values with one TTL, in one round trip."""
        if not values:
            return
        encoded = {key: _encode(value) for key, value in values.items()}
        with store_errors(), self._client.pipeline(transaction=False) as pipe:
            for key, raw in encoded.items():
                pipe.set(key, raw, px=_milliseconds(ttl))
            pipe.execute()

    def delete(self, *keys: str) -> int:
        """Delete keys; return how many there were."""
        if not keys:
            return 0
        with store_errors():
            return self._client.unlink(*keys)

    def exists(self, key: str) -> bool:
        """Say whether `key` exists."""
        with store_errors():
            return bool(self._client.exists(key))

    def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int:
        """Add to a counter and return it. `ttl` is given to a counter that this call creates.

        Not safe to repeat: after a StoreUnavailableError the amount may or may not have been added.
        """
        with store_errors(), self._once.pipeline(transaction=True) as pipe:
            if ttl is not None:
                # Created with its life, so that no counter is ever left without one.
                pipe.set(key, 0, nx=True, px=_milliseconds(ttl))
            pipe.incrby(key, amount)
            return cast(int, pipe.execute()[-1])

    def expire(self, key: str, ttl: float) -> bool:
        """Give `key` a new TTL; False when it does not exist."""
        with store_errors():
            return bool(self._client.pexpire(key, _milliseconds(ttl)))

    def ttl(self, key: str) -> float | None:
        """Return the seconds `key` has left, or None when it does not exist or never expires."""
        with store_errors():
            left = self._client.pttl(key)
        return left / 1000 if left >= 0 else None

    def delete_by_pattern(self, pattern: str) -> int:
        """Delete the keys that match a glob inside our namespace; return how many.

        Runs in small steps (SCAN, UNLINK), so that a large store stays responsive; keys that appear
        meanwhile may be missed.
        """
        self.keys.pattern(pattern)
        deleted = 0
        with store_errors():
            batch: list[bytes] = []
            for key in self._client.scan_iter(match=pattern, count=BATCH):
                batch.append(key)
                if len(batch) >= BATCH:
                    deleted += self._client.unlink(*batch)
                    batch.clear()
            if batch:
                deleted += self._client.unlink(*batch)
        return deleted

    def _decode(self, key: str, raw: bytes, model: type[T]) -> T | None:
        try:
            return cast("T", _adapter(model).validate_json(raw))
        except ValidationError as error:
            logger.warning(
                "The value of %s does not fit %s and was deleted: %s",
                key,
                getattr(model, "__name__", model),
                error.errors(include_input=False, include_url=False)[0]["msg"],
            )
            self.delete(key)
            return None


def _encode(value: Any) -> bytes:
    return _adapter(type(value)).dump_json(value)


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(model: Any) -> TypeAdapter[Any]:
    adapter = _adapters.get(model)
    if adapter is None:
        adapter = _adapters[model] = TypeAdapter(model)
    return adapter


def _milliseconds(ttl: float) -> int:
    if ttl <= 0:
        raise InvalidInputError("ttl", ttl, "A life is more than 0 seconds.")
    return max(1, round(ttl * 1000))
