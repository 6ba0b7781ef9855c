"""`get_or_load`: of all callers that miss a key, in all processes, one loads its value.

Within a process the first caller leads the load, and the others wait for its result
(`inflight_loads.py`). Leaders of different processes compete for a *claim*, which is stored in the
value's own key (`lua/load_claim.lua`). Deleting or setting the key removes the claim. The loaded value
is then not stored, because the loader may have read the data before the change. For the same reason a
caller that arrives after the deletion does not join that load.

Before a value expires, a reader may refresh it: the sooner the expiry and the slower the loader, the
more likely (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention",
VLDB 2015).
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from cache import arguments
from cache.arguments import milliseconds
from cache.clock import ServerClock
from cache.platform import codec
from cache.platform.cached_value import CachedValue, LoadRequest
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

#: The delays between two reads of a key that another process loads.
POLL_BACKOFF = Backoff(first=0.0075, longest=0.15, jitter=2 / 3)

#: Statuses that `load_claim` returns: another load has the claim, or this one.
_TAKEN, _CLAIMED = 0, 1


class Loader:
    """`get_or_load`, as a flow."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._loads = InflightLoads()
        self._clock = ServerClock()

    def get_or_load(
        self, key: str, model: type[T], loader: Callable[[], Any], options: LoadOptions
    ) -> Flow[T | None]:
        """Return the value of `key`; if it is missing, one caller loads it."""
        codec.check_model(model)
        arguments.key(key)
        arguments.function("loader", loader)
        request = LoadRequest(key, model, loader, options, time.monotonic())
        while True:
            known_load = self._loads.claimed(request.name)
            found: CachedValue[T] | None
            try:
                local = yield from self._values.get_local(key, model)
                if local is not None:
                    return local
                found = yield from self._read(request)
            except StoreUnavailableError:
                self._values.counter.add("unavailable_reads")
                found = None
            if found is not None and found.is_answer:
                fresh_for = self._fresh_for(found)
                if fresh_for > -options.stale_for:
                    return (yield from self._serve(request, found, fresh_for))
            result = yield from self._join_load(request, found, known_load)
            if result is not RETRY:
                self._values.counter.add("misses")
                return _value_of(request, result)

    # ── the cached value ─────────────────────────────────────────────────────────────────────────

    def _read(self, request: LoadRequest[T]) -> Flow[CachedValue[T]]:
        """Read the key. Raises StoreUnavailableError."""
        if not self._clock.is_set:
            sent_at = time.monotonic()
            (time_reply,) = yield Batch(("TIME",))
            self._clock.set(int(time_reply[0]) * 1000 + int(time_reply[1]) // 1000, sent_at)
        raw, fetched = yield from self._values.fetch(request.key)
        if raw is None:
            return CachedValue(b"")
        try:
            envelope = codec.read_envelope(raw)
            if envelope.kind == codec.CLAIM:
                return CachedValue(raw)
            if not codec.fits(envelope, request.model):
                self._values.counter.add("old_versions")
                return CachedValue(raw)
            if envelope.kind == codec.MISSING:
                return CachedValue(raw, None, True, envelope.fresh_until_ms)
            value = codec.decode_body(envelope, request.model)
        except codec.UnreadableValueError as error:
            yield from self._values.discard(request.key, request.model, error)
            return CachedValue(b"")
        if envelope.kind == codec.VALUE:
            return CachedValue(raw, value, fetched=fetched)
        return CachedValue(raw, value, False, envelope.fresh_until_ms, envelope.took_ms, fetched)

    def _fresh_for(self, found: CachedValue[T]) -> float:
        """Return the seconds for which a value stays fresh; negative once it is stale."""
        if found.fresh_until_ms is None:
            return math.inf
        return (found.fresh_until_ms - self._clock.now_ms()) / 1000

    def _serve(
        self, request: LoadRequest[T], found: CachedValue[T], fresh_for: float
    ) -> Flow[T | None]:
        """Return a value that is fresh, or stale and within `stale_for`; refresh it where due."""
        if fresh_for > 0:
            return (yield from self._serve_fresh(request, found, fresh_for))
        refreshed = yield from self._refresh(request, found)
        if refreshed is None:
            self._values.counter.add("hits", "stale_hits")
            return found.value
        self._values.counter.add("misses")
        return _value_of(request, refreshed)

    def _serve_fresh(
        self, request: LoadRequest[T], found: CachedValue[T], fresh_for: float
    ) -> Flow[T | None]:
        self._values.counter.add("misses" if found.is_miss else "hits")
        client_side = self._values.client_side
        if client_side is not None and found.fetched is not None and found.value is not None:
            client_side.store(request.key, request.model, found.value, found.fetched, fresh_for)
        # Seconds before its expiry at which this reader refreshes it: -log of 0 to 1 is mostly small.
        lead = found.took_ms / 1000 * request.options.early * -math.log(1 - random.random())  # noqa: S311
        if lead < fresh_for:
            return found.value
        refreshed = yield from self._refresh(request, found, "early_loads")
        return found.value if refreshed is None else _value_of(request, refreshed)

    # ── loads within this process ────────────────────────────────────────────────────────────────

    def _join_load(
        self,
        request: LoadRequest[T],
        found: CachedValue[T] | None,
        known_load: InflightLoad | None,
    ) -> Flow[LoadResult[T]]:
        """Lead the load of a missing value, or wait for its leader; `found` is None without a store.

        Args:
            known_load: the claimed load that was running before the key was read.
        """
        lost_claim = found is not None and not found.is_claimed_by(known_load)
        load, leads = self._loads.join(request.name, known_load if lost_claim else None)
        if leads:
            flow = self._load_or_wait(request, load, found)
            return (yield from self._run_as_leader(request, load, flow))
        result = yield from self._wait_for_leader(request, load)
        if found is not None and load is not known_load and result.started_at < request.arrived_at:
            # The load read its value before this caller came, and this caller has not seen its claim
            # since: the key may have been deleted in between.
            return RETRY
        return result

    def _run_as_leader(
        self, request: LoadRequest[T], load: InflightLoad, flow: Flow[LoadResult[T]]
    ) -> Flow[LoadResult[T]]:
        """Run the leader's flow; hand its result to the waiters, also when it fails or is cancelled."""
        result: LoadResult[T] = RETRY
        try:
            result = yield from flow
        except GeneratorExit:
            raise
        except BaseException as error:
            # Also a cancelled task: other processes must not wait for its claim to expire.
            with suppress(Exception):
                yield from self._finish(request, load)
            if not isinstance(error, Exception):
                raise
            result = LoadResult(error=error)
        finally:
            self._loads.finish(request.name, load, result)
        return result

    def _wait_for_leader(self, request: LoadRequest[T], load: InflightLoad) -> Flow[LoadResult[T]]:
        done = yield WaitFor(load.result, max(0.0, request.wait_left()))
        if done:
            return load.result.result()
        # The leader's loader may hang; this caller's may not.
        return (yield from self._load(request))

    def _load_or_wait(
        self, request: LoadRequest[T], load: InflightLoad, found: CachedValue[T] | None
    ) -> Flow[LoadResult[T]]:
        """Load the value, or wait until another process has; `found` is None without a store."""
        polls = 0
        try:
            while found is not None:
                status, now_ms = yield from self._claim(request, load, found, keep_value=False)
                if status == _CLAIMED:
                    return (yield from self._load_and_store(request, load, now_ms))
                left = request.wait_left()
                if left <= 0:
                    break
                if status == _TAKEN:
                    polls += 1
                    yield Sleep(min(left, POLL_BACKOFF.delay(polls)))
                started_at = time.monotonic()
                found = yield from self._read(request)
                if found.is_answer and self._fresh_for(found) > 0:
                    raw = None if found.is_miss else found.raw
                    return LoadResult(raw, found.value, started_at=started_at)
        except StoreUnavailableError:
            found = None
        if found is None:
            self._values.counter.add("dropped_writes")
        return (yield from self._load(request))

    def _refresh(
        self, request: LoadRequest[T], found: CachedValue[T], *counts: Count
    ) -> Flow[LoadResult[T] | None]:
        """Load a new value unless another caller does; None if the old value is to be served.

        That includes a loader that fails: the error is logged.
        """
        load, leads = self._loads.join(request.name)
        if not leads:
            return None
        flow = self._refresh_as_leader(request, load, found, counts)
        result = yield from self._run_as_leader(request, load, flow)
        if result.error is not None:
            logger.warning(
                "%s could not be refreshed, its old value is served: %s",
                self._values.keys.redacted(request.key),
                result.error,
            )
        return None if result is RETRY or result.error is not None else result

    def _refresh_as_leader(
        self,
        request: LoadRequest[T],
        load: InflightLoad,
        found: CachedValue[T],
        counts: tuple[Count, ...],
    ) -> Flow[LoadResult[T]]:
        try:
            status, now_ms = yield from self._claim(request, load, found, keep_value=True)
        except StoreUnavailableError:
            return RETRY
        if status != _CLAIMED:
            return RETRY
        self._values.counter.add(*counts)
        return (yield from self._load_and_store(request, load, now_ms))

    # ── claims between processes, and the loader ─────────────────────────────────────────────────

    def _claim(
        self,
        request: LoadRequest[T],
        load: InflightLoad,
        found: CachedValue[T],
        *,
        keep_value: bool,
    ) -> Flow[tuple[int, int]]:
        """Claim the key; return the status, and the server's time in milliseconds since the epoch."""
        sent_at = time.monotonic()
        status, now = yield from scripts.run(
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
        load.claimed = status == _CLAIMED
        return status, int(now)

    def _finish(
        self, request: LoadRequest[T], load: InflightLoad, raw: bytes = b"", ttl_ms: int = 0
    ) -> Flow[bool]:
        """Release the claim and store `raw`, if any; return False if the claim was already lost."""
        reply = yield from scripts.run(
            "load_finish", request.key, load.token, raw, ttl_ms, await_reply=True
        )
        return bool(reply)

    def _load(self, request: LoadRequest[T]) -> Flow[LoadResult[T]]:
        """Run the loader, and store nothing."""
        self._values.counter.add("loads")
        started_at = time.monotonic()
        try:
            return LoadResult(value=(yield Call(request.loader)), started_at=started_at)
        except Exception as error:
            return LoadResult(error=error)

    def _load_and_store(
        self, request: LoadRequest[T], load: InflightLoad, now_ms: int
    ) -> Flow[LoadResult[T]]:
        """Run the loader under the claim, store its value, and release the claim."""
        started_at = time.monotonic()
        result = yield from self._load(request)
        took_ms = round((time.monotonic() - started_at) * 1000)
        raw, ttl_ms = b"", 0
        if result.error is None:
            try:
                raw, ttl_ms = request.encode(result.value, now_ms, took_ms)
            except codec.TooLargeError as error:
                self._values.counter.add("dropped_writes")
                key = self._values.keys.redacted(request.key)
                logger.error("The loaded value of %s was not cached: %s", key, error)  # noqa: TRY400
        try:
            wanted = raw and (yield from _may_store(request, result.value, now_ms, ttl_ms))
            stored = raw if wanted else b""
            done = yield from self._finish(request, load, stored, ttl_ms)
        except StoreUnavailableError:
            done, stored = False, raw
        if stored and not done:
            self._values.counter.add("dropped_writes")
        self._values.discard_local(request.key)
        return LoadResult(raw, result.value, started_at=result.started_at) if raw else result


def _may_store(request: LoadRequest[T], value: T | None, now_ms: int, ttl_ms: int) -> Flow[bool]:
    if value is None or request.options.before_storing is None:
        return True
    return (yield from request.options.before_storing(value, now_ms, ttl_ms))


def _value_of(request: LoadRequest[T], result: LoadResult[T]) -> T | None:
    """Return the loaded value: a copy for each caller, decoded from its bytes. Raises its error."""
    if result.error is not None:
        raise result.error
    if result.raw is not None:
        # Some values do not survive JSON: NaN becomes null. Those are shared.
        with suppress(codec.UnreadableValueError):
            return codec.decode(result.raw, request.model)
    return result.value
