"""Loading on a miss: however many callers request a value, in however many processes, one loads it.

Within a process the first caller leads a *load* and the others wait for its result. Between processes
the leaders compete for a *claim*, which stands in the value's own key (`lua/load_claim.lua`). A key
that is deleted or set while its value is loaded loses its claim, and what the loader brings is not
stored: it may have been read before the change that the deletion is about. For the same reason nobody
who comes after the deletion joins that load.

Before a value expires, a reader may load it anew, the more likely the closer the end and the slower the
loader (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cache import arguments
from cache.arguments import milliseconds
from cache.clock import ServerClock
from cache.platform import codec
from cache.platform.client_side_cache import Fetched
from cache.platform.counts import Count
from cache.platform.inflight_loads import RETRY, InflightLoad, InflightLoads, LoadResult
from cache.platform.load_options import LoadOptions
from cache.platform.values import Values
from cache.store import scripts
from cache.store.flow import Batch, Call, Flow, Sleep, WaitFor
from domain.backoff import Backoff
from domain.errors import StoreUnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Between two reads of a key that another process loads.
POLLING = Backoff(first=0.0075, longest=0.15, jitter=2 / 3)

#: What `load_claim` answers.
_TAKEN, _CLAIMED = 0, 1


@dataclass(slots=True)
class _CachedValue(Generic[T]):
    """What stands at a key."""

    raw: bytes
    value: T | None = None
    is_miss: bool = False
    """It says that there is nothing."""
    fresh_until_ms: int | None = None
    """None: as long as it is there."""
    took_ms: int = 0
    fetched: Fetched | None = None
    """The client-side cache's place for it."""

    @property
    def head(self) -> bytes:
        """Its first bytes, by which it is recognised later."""
        return self.raw[: codec.LOADED_HEAD_BYTES]

    def is_claimed_by(self, load: InflightLoad | None) -> bool:
        """Whether it is this load that loads it (anew)."""
        return load is not None and codec.token_of(self.head) == load.token

    @property
    def answers(self) -> bool:
        """Whether it is an answer at all, however old."""
        return self.value is not None or self.is_miss


@dataclass(frozen=True, slots=True)
class _LoadRequest(Generic[T]):
    """What one caller asks for."""

    key: str
    model: type[T]
    loader: Callable[[], Any]
    options: LoadOptions

    @property
    def name(self) -> Any:
        """What callers must have in common to share a load."""
        return self.key, self.model


class Loader:
    """`get_or_load`, as a flow."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._inflight = InflightLoads()
        self._clock = ServerClock()

    def get_or_load(
        self, key: str, model: type[T], loader: Callable[[], Any], options: LoadOptions
    ) -> Flow[T | None]:
        """The value of `key`, loaded by one caller where it is missing."""
        options.check()
        codec.check_model(model)
        arguments.key(key)
        arguments.function("loader", loader)
        request = _LoadRequest(key, model, loader, options)
        arrived_at = time.monotonic()
        deadline = arrived_at + options.wait
        while True:
            claimed_load = self._inflight.claimed(request.name)
            try:
                local = yield from self._values.get_local(key, model)
                if local is not None:
                    return local
                found = yield from self._read(request)
            except StoreUnavailableError:
                self._values.counter.add("unavailable_reads")
                found = None
            if found is not None and found.answers:
                fresh_for = self._fresh_for(found)
                if fresh_for > 0:
                    return (yield from self._fresh(request, found, fresh_for))
                if fresh_for > -request.options.stale_for:
                    return (yield from self._stale(request, found))
            outdated = (
                claimed_load
                if found is not None and not found.is_claimed_by(claimed_load)
                else None
            )
            load, leads = self._inflight.join(request.name, outdated)
            if leads:
                flow = self._load_or_wait(request, load, found, deadline)
                result = yield from self._run_as_leader(request, load, flow)
            else:
                result = yield from self._wait_for_leader(request, load, deadline)
                if (
                    found is not None
                    and load is not claimed_load
                    and result.started_at < arrived_at
                ):
                    # Read before we came, without a claim that we have seen in its place since: it may
                    # have been deleted in between.
                    result = RETRY
            if result is not RETRY:
                self._values.counter.add("misses")
                return self._value_of(request, result)

    # ── what is there ───────────────────────────────────────────────────────────────────────────

    def _read(self, request: _LoadRequest[T]) -> Flow[_CachedValue[T]]:
        """Read the key. Raises StoreUnavailableError."""
        if not self._clock.is_set:
            sent_at = time.monotonic()
            (time_reply,) = yield Batch(("TIME",))
            self._clock.set(int(time_reply[0]) * 1000 + int(time_reply[1]) // 1000, sent_at)
        raw, fetched = yield from self._values.fetch(request.key)
        if raw is None:
            return _CachedValue(b"")
        try:
            envelope = codec.read_envelope(raw)
            if envelope.kind == codec.CLAIM:
                return _CachedValue(raw)
            if not codec.fits(envelope, request.model):
                self._values.counter.add("old_versions")
                return _CachedValue(raw)
            if envelope.kind == codec.MISSING:
                return _CachedValue(raw, None, True, envelope.fresh_until_ms)
            value = codec.decode_body(envelope, request.model)
        except codec.UnreadableValueError as error:
            yield from self._values.discard(request.key, request.model, error)
            return _CachedValue(b"")
        if envelope.kind == codec.VALUE:
            return _CachedValue(raw, value, fetched=fetched)
        return _CachedValue(raw, value, False, envelope.fresh_until_ms, envelope.took_ms, fetched)

    def _fresh_for(self, found: _CachedValue[T]) -> float:
        """Return the seconds for which it stays fresh; below 0 since when it is not."""
        if found.fresh_until_ms is None:
            return math.inf
        return (found.fresh_until_ms - self._clock.now_ms()) / 1000

    def _fresh(
        self, request: _LoadRequest[T], found: _CachedValue[T], fresh_for: float
    ) -> Flow[T | None]:
        self._values.counter.add("misses" if found.is_miss else "hits")
        client_side = self._values.client_side
        if client_side is not None and found.fetched is not None and found.value is not None:
            client_side.store(request.key, request.model, found.value, found.fetched, fresh_for)
        # How much sooner than at its end this reader would load it: with -log of 0 to 1, mostly little.
        sooner = found.took_ms / 1000 * request.options.early * -math.log(1 - random.random())  # noqa: S311
        if sooner < fresh_for:
            return found.value
        refreshed = yield from self._refresh(request, found, "early_loads")
        return found.value if refreshed is None else self._value_of(request, refreshed)

    def _stale(self, request: _LoadRequest[T], found: _CachedValue[T]) -> Flow[T | None]:
        refreshed = yield from self._refresh(request, found)
        if refreshed is None:
            self._values.counter.add("hits", "stale_hits")
            return found.value
        self._values.counter.add("misses")
        return self._value_of(request, refreshed)

    # ── flights within this process ─────────────────────────────────────────────────────────────

    def _run_as_leader(
        self, request: _LoadRequest[T], load: InflightLoad, flow: Flow[LoadResult[T]]
    ) -> Flow[LoadResult[T]]:
        """Run what the leader does; whatever becomes of it, those who wait are told."""
        result: LoadResult[T] = RETRY
        try:
            result = yield from flow
        except GeneratorExit:
            raise
        except BaseException as error:
            # Above all a task that is cancelled: no caller shall wait for a loader that does not run.
            with suppress(Exception):
                yield from self._finish(request, load)
            if not isinstance(error, Exception):
                raise
            result = LoadResult(error=error)
        finally:
            self._inflight.finish(request.name, load, result)
        return result

    def _wait_for_leader(
        self, request: _LoadRequest[T], load: InflightLoad, deadline: float
    ) -> Flow[LoadResult[T]]:
        done = yield WaitFor(load.result, max(0.0, deadline - time.monotonic()))
        if done:
            return load.result.result()
        # The loader may hang in somebody else's call; this caller's may not.
        return (yield from self._load(request))

    def _value_of(self, request: _LoadRequest[T], result: LoadResult[T]) -> T | None:
        """Return the value that a load brought, each caller its own copy where it can be had."""
        if result.error is not None:
            raise result.error
        if result.raw is not None:
            # Some values do not survive their own JSON: a NaN becomes null.
            with suppress(codec.UnreadableValueError):
                return codec.decode(result.raw, request.model)
        return result.value

    def _load_or_wait(
        self,
        request: _LoadRequest[T],
        load: InflightLoad,
        found: _CachedValue[T] | None,
        deadline: float,
    ) -> Flow[LoadResult[T]]:
        """Bring the value, by our loader or by that of another process; None found: without a store."""
        polls = 0
        try:
            while found is not None:
                outcome, now_ms = yield from self._claim(request, load, found, keep_value=False)
                if outcome == _CLAIMED:
                    return (yield from self._load_and_store(request, load, now_ms))
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                if outcome == _TAKEN:
                    polls += 1
                    yield Sleep(min(left, POLLING.delay(polls)))
                started_at = time.monotonic()
                found = yield from self._read(request)
                if found.answers and self._fresh_for(found) > 0:
                    raw = None if found.is_miss else found.raw
                    return LoadResult(raw, found.value, started_at=started_at)
        except StoreUnavailableError:
            found = None
        if found is None:
            self._values.counter.add("dropped_writes")
        return (yield from self._load(request))

    def _refresh(
        self, request: _LoadRequest[T], found: _CachedValue[T], *counts: Count
    ) -> Flow[LoadResult[T] | None]:
        """Load anew what is still served, if nobody else does; None when the old value stays good.

        That is also so when the loader fails: it costs nobody anything yet.
        """
        load, leads = self._inflight.join(request.name)
        if not leads:
            return None
        flow = self._refresh_as_leader(request, load, found, counts)
        result = yield from self._run_as_leader(request, load, flow)
        if result.error is not None:
            logger.warning(
                "%s could not be loaded anew, its old value is served: %s",
                self._values.keys.redacted(request.key),
                result.error,
            )
        return None if result is RETRY or result.error is not None else result

    def _refresh_as_leader(
        self,
        request: _LoadRequest[T],
        load: InflightLoad,
        found: _CachedValue[T],
        counts: tuple[Count, ...],
    ) -> Flow[LoadResult[T]]:
        try:
            outcome, now_ms = yield from self._claim(request, load, found, keep_value=True)
        except StoreUnavailableError:
            return RETRY
        if outcome != _CLAIMED:
            return RETRY
        self._values.counter.add(*counts)
        return (yield from self._load_and_store(request, load, now_ms))

    # ── claims between processes, and the loader ────────────────────────────────────────────────

    def _claim(
        self,
        request: _LoadRequest[T],
        load: InflightLoad,
        found: _CachedValue[T],
        *,
        keep_value: bool,
    ) -> Flow[tuple[int, int]]:
        sent_at = time.monotonic()
        outcome, now = yield from scripts.run(
            "load_claim",
            request.key,
            load.token,
            milliseconds(request.options.load_timeout),
            found.head,
            "keep" if keep_value else "replace",
            codec.CLAIM_HEAD,
            codec.CLAIM_TAIL,
            await_reply=True,
        )
        self._clock.set(int(now), sent_at)
        load.claimed = outcome == _CLAIMED
        return outcome, int(now)

    def _finish(
        self, request: _LoadRequest[T], load: InflightLoad, raw: bytes = b"", ttl_ms: int = 0
    ) -> Flow[bool]:
        """Give the claim up, and store what was loaded; False when the claim was no longer ours."""
        reply = yield from scripts.run(
            "load_finish",
            request.key,
            load.token,
            raw,
            ttl_ms,
            await_reply=True,
        )
        return bool(reply)

    def _load(self, request: _LoadRequest[T]) -> Flow[LoadResult[T]]:
        """Run the loader, and store nothing."""
        self._values.counter.add("loads")
        started_at = time.monotonic()
        try:
            return LoadResult(value=(yield Call(request.loader)), started_at=started_at)
        except Exception as error:
            return LoadResult(error=error)

    def _load_and_store(
        self, request: _LoadRequest[T], load: InflightLoad, now_ms: int
    ) -> Flow[LoadResult[T]]:
        """Run the loader under our claim, store what it brings, and give the claim up."""
        started_at = time.monotonic()
        result = yield from self._load(request)
        took_ms = round((time.monotonic() - started_at) * 1000)
        raw, ttl_ms = b"", 0
        if result.error is None:
            try:
                raw, ttl_ms = _encoded(
                    request.options, request.model, result.value, now_ms, took_ms
                )
            except codec.TooLargeError as error:
                self._values.counter.add("dropped_writes")
                shown = self._values.keys.redacted(request.key)
                logger.error("What was loaded for %s cannot be cached: %s", shown, error)  # noqa: TRY400
        try:
            wanted = raw and (yield from self._may_store(request, result.value, now_ms, ttl_ms))
            stored = raw if wanted else b""
            done = yield from self._finish(request, load, stored, ttl_ms)
        except StoreUnavailableError:
            done, stored = False, raw
        if stored and not done:
            self._values.counter.add("dropped_writes")
        self._values.discard_local(request.key)
        return LoadResult(raw, result.value, started_at=result.started_at) if raw else result

    def _may_store(
        self, request: _LoadRequest[T], value: T | None, now_ms: int, ttl_ms: int
    ) -> Flow[bool]:
        if value is None or request.options.before_storing is None:
            return True
        return (yield from request.options.before_storing(value, now_ms, ttl_ms))


def _encoded(
    options: LoadOptions, model: Any, value: Any, now_ms: int, took_ms: int
) -> tuple[bytes, int]:
    """Return the bytes to store for what was loaded, and their life in milliseconds."""
    fresh_ms = milliseconds(options.miss_ttl if value is None else options.ttl, options.jitter)
    ttl_ms = fresh_ms + round(options.stale_for * 1000)
    fresh_until_ms = now_ms + took_ms + fresh_ms
    if value is None:
        raw = codec.encode_missing(model, fresh_until_ms=fresh_until_ms, took_ms=took_ms)
    else:
        raw = codec.encode_loaded(value, model, fresh_until_ms=fresh_until_ms, took_ms=took_ms)
    return raw, ttl_ms
