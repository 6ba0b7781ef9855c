"""Loading on a miss: however many callers want a value, in however many processes, one loads it.

Within a process the first caller leads a *flight* and the others wait for its landing. Between processes
the leaders compete for a *claim*, which stands in the value's own key (`lua/load_claim.lua`). A key
that is deleted or set while its value is loaded loses its claim, and what the loader brings is not
stored: it may have been read before the change that the deletion is about. For the same reason nobody
who comes after the deletion joins that flight.

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
from cache.platform.inflight_loads import AGAIN, Flight, Flights, Landing
from cache.platform.load_options import LoadOptions
from cache.platform.values import Values
from cache.store import scripts
from cache.store.plan import Await, Batch, Call, Pause, Plan
from domain.errors import StoreUnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two looks at a key that another process loads: first and longest.
FIRST_LOOK = 0.005
LONGEST_LOOK = 0.1

#: What `load_claim` answers.
_TAKEN, _CLAIMED = 0, 1


@dataclass(slots=True)
class _Found(Generic[T]):
    """What stands at a key."""

    raw: bytes
    value: T | None = None
    is_miss: bool = False
    """It says that there is nothing."""
    fresh_until_ms: int | None = None
    """None: as long as it is there."""
    took_ms: int = 0
    fetched: Fetched | None = None
    """The near cache's place for it."""

    @property
    def head(self) -> bytes:
        """Its first bytes, by which it is recognised later."""
        return self.raw[: codec.LOADED_HEAD_BYTES]

    def is_claimed_by(self, flight: Flight | None) -> bool:
        """Whether it is this flight that loads it (anew)."""
        return flight is not None and codec.token_of(self.head) == flight.token

    @property
    def answers(self) -> bool:
        """Whether it is an answer at all, however old."""
        return self.value is not None or self.is_miss


@dataclass(frozen=True, slots=True)
class _Want(Generic[T]):
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
    """`get_or_load`, as a plan."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._flights = Flights()
        self._clock = ServerClock()

    def get_or_load(
        self, key: str, model: type[T], loader: Callable[[], Any], options: LoadOptions
    ) -> Plan[T | None]:
        """The value of `key`, loaded by one caller where it is missing."""
        options.check()
        codec.check_model(model)
        arguments.key(key)
        arguments.function("loader", loader)
        want = _Want(key, model, loader, options)
        came = time.monotonic()
        patience_ends = came + options.wait
        while True:
            flying = self._flights.claimed(want.name)
            try:
                nearby = yield from self._values.nearby(key, model)
                if nearby is not None:
                    return nearby
                found = yield from self._look(want)
            except StoreUnavailableError:
                self._values.counter.add("unavailable_reads")
                found = None
            if found is not None and found.answers:
                fresh_for = self._fresh_for(found)
                if fresh_for > 0:
                    return (yield from self._fresh(want, found, fresh_for))
                if fresh_for > -want.options.stale_for:
                    return (yield from self._stale(want, found))
            outdated = flying if found is not None and not found.is_claimed_by(flying) else None
            flight, leads = self._flights.join(want.name, outdated)
            if leads:
                plan = self._lead(want, flight, found, patience_ends)
                landing = yield from self._fly(want, flight, plan)
            else:
                landing = yield from self._await(want, flight, patience_ends)
                if found is not None and flight is not flying and landing.began < came:
                    # Read before we came, without a claim that we have seen in its place since: it may
                    # have been deleted in between.
                    landing = AGAIN
            if landing is not AGAIN:
                self._values.counter.add("misses")
                return self._landed(want, landing)

    # ── what is there ───────────────────────────────────────────────────────────────────────────

    def _look(self, want: _Want[T]) -> Plan[_Found[T]]:
        """Read the key. Raises StoreUnavailableError."""
        if not self._clock.is_set:
            asked_at = time.monotonic()
            (time_reply,) = yield Batch(("TIME",))
            self._clock.set(int(time_reply[0]) * 1000 + int(time_reply[1]) // 1000, asked_at)
        raw, fetched = yield from self._values.fetch(want.key)
        if raw is None:
            return _Found(b"")
        try:
            envelope = codec.read_envelope(raw)
            if envelope.kind == codec.CLAIM:
                return _Found(raw)
            if not codec.fits(envelope, want.model):
                self._values.counter.add("old_versions")
                return _Found(raw)
            if envelope.kind == codec.MISSING:
                return _Found(raw, None, True, envelope.fresh_until_ms)
            value = codec.decode_body(envelope, want.model)
        except codec.UnreadableValueError as error:
            yield from self._values.discard(want.key, want.model, error)
            return _Found(b"")
        if envelope.kind == codec.VALUE:
            return _Found(raw, value, fetched=fetched)
        return _Found(raw, value, False, envelope.fresh_until_ms, envelope.took_ms, fetched)

    def _fresh_for(self, found: _Found[T]) -> float:
        """Return the seconds for which it stays fresh; below 0 since when it is not."""
        if found.fresh_until_ms is None:
            return math.inf
        return (found.fresh_until_ms - self._clock.now_ms()) / 1000

    def _fresh(self, want: _Want[T], found: _Found[T], fresh_for: float) -> Plan[T | None]:
        self._values.counter.add("misses" if found.is_miss else "hits")
        near = self._values.near
        if near is not None and found.fetched is not None and found.value is not None:
            near.keep(want.key, want.model, found.value, found.fetched, fresh_for)
        # How much sooner than at its end this reader would load it: with -log of 0 to 1, mostly little.
        sooner = found.took_ms / 1000 * want.options.early * -math.log(1 - random.random())  # noqa: S311
        if sooner < fresh_for:
            return found.value
        renewed = yield from self._renew(want, found, "early_loads")
        return found.value if renewed is None else self._landed(want, renewed)

    def _stale(self, want: _Want[T], found: _Found[T]) -> Plan[T | None]:
        renewed = yield from self._renew(want, found)
        if renewed is None:
            self._values.counter.add("hits", "stale_hits")
            return found.value
        self._values.counter.add("misses")
        return self._landed(want, renewed)

    # ── flights within this process ─────────────────────────────────────────────────────────────

    def _fly(self, want: _Want[T], flight: Flight, plan: Plan[Landing[T]]) -> Plan[Landing[T]]:
        """Run what the leader does; whatever becomes of it, those who wait are told."""
        landing: Landing[T] = AGAIN
        try:
            landing = yield from plan
        except GeneratorExit:
            raise
        except BaseException as error:
            # Above all a task that is cancelled: no caller shall wait for a loader that does not run.
            with suppress(Exception):
                yield from self._finish(want, flight)
            if not isinstance(error, Exception):
                raise
            landing = Landing(error=error)
        finally:
            self._flights.land(want.name, flight, landing)
        return landing

    def _await(self, want: _Want[T], flight: Flight, patience_ends: float) -> Plan[Landing[T]]:
        landed = yield Await(flight.landing, max(0.0, patience_ends - time.monotonic()))
        if landed:
            return flight.landing.result()
        # The loader may hang in somebody else's call; this caller's may not.
        return (yield from self._load(want))

    def _landed(self, want: _Want[T], landing: Landing[T]) -> T | None:
        """Return the value that a flight brought, each caller its own copy where it can be had."""
        if landing.error is not None:
            raise landing.error
        if landing.raw is not None:
            # Some values do not survive their own JSON: a NaN becomes null.
            with suppress(codec.UnreadableValueError):
                return codec.decode(landing.raw, want.model)
        return landing.value

    def _lead(
        self, want: _Want[T], flight: Flight, found: _Found[T] | None, patience_ends: float
    ) -> Plan[Landing[T]]:
        """Bring the value, by our loader or by that of another process; None found: without a store."""
        pause = FIRST_LOOK
        try:
            while found is not None:
                verdict, now_ms = yield from self._claim(want, flight, found, beside=False)
                if verdict == _CLAIMED:
                    return (yield from self._load_and_store(want, flight, now_ms))
                left = patience_ends - time.monotonic()
                if left <= 0:
                    break
                if verdict == _TAKEN:
                    yield Pause(min(left, pause * (0.5 + random.random())))  # noqa: S311
                    pause = min(LONGEST_LOOK, pause * 2)
                began = time.monotonic()
                found = yield from self._look(want)
                if found.answers and self._fresh_for(found) > 0:
                    raw = None if found.is_miss else found.raw
                    return Landing(raw, found.value, began=began)
        except StoreUnavailableError:
            found = None
        if found is None:
            self._values.counter.add("dropped_writes")
        return (yield from self._load(want))

    def _renew(self, want: _Want[T], found: _Found[T], *counts: Count) -> Plan[Landing[T] | None]:
        """Load anew what is still served, if nobody else does; None when the old value stays good.

        That is also so when the loader fails: it costs nobody anything yet.
        """
        flight, leads = self._flights.join(want.name)
        if not leads:
            return None
        plan = self._lead_renewal(want, flight, found, counts)
        landing = yield from self._fly(want, flight, plan)
        if landing.error is not None:
            logger.warning(
                "%s could not be loaded anew, its old value is served: %s",
                self._values.keys.shown(want.key),
                landing.error,
            )
        return None if landing is AGAIN or landing.error is not None else landing

    def _lead_renewal(
        self, want: _Want[T], flight: Flight, found: _Found[T], counts: tuple[Count, ...]
    ) -> Plan[Landing[T]]:
        try:
            verdict, now_ms = yield from self._claim(want, flight, found, beside=True)
        except StoreUnavailableError:
            return AGAIN
        if verdict != _CLAIMED:
            return AGAIN
        self._values.counter.add(*counts)
        return (yield from self._load_and_store(want, flight, now_ms))

    # ── claims between processes, and the loader ────────────────────────────────────────────────

    def _claim(
        self, want: _Want[T], flight: Flight, found: _Found[T], *, beside: bool
    ) -> Plan[tuple[int, int]]:
        asked_at = time.monotonic()
        verdict, now = yield from scripts.run(
            "load_claim",
            want.key,
            flight.token,
            milliseconds(want.options.load_timeout),
            found.head,
            "beside" if beside else "instead",
            codec.CLAIM_HEAD,
            codec.CLAIM_TAIL,
            await_reply=True,
        )
        self._clock.set(int(now), asked_at)
        flight.claimed = verdict == _CLAIMED
        return verdict, int(now)

    def _finish(
        self, want: _Want[T], flight: Flight, raw: bytes = b"", life_ms: int = 0
    ) -> Plan[bool]:
        """Give the claim up, and store what was loaded; False when the claim was no longer ours."""
        reply = yield from scripts.run(
            "load_finish",
            want.key,
            flight.token,
            raw,
            life_ms,
            await_reply=True,
        )
        return bool(reply)

    def _load(self, want: _Want[T]) -> Plan[Landing[T]]:
        """Run the loader, and store nothing."""
        self._values.counter.add("loads")
        began = time.monotonic()
        try:
            return Landing(value=(yield Call(want.loader)), began=began)
        except Exception as error:
            return Landing(error=error)

    def _load_and_store(self, want: _Want[T], flight: Flight, now_ms: int) -> Plan[Landing[T]]:
        """Run the loader under our claim, store what it brings, and give the claim up."""
        began = time.monotonic()
        landing = yield from self._load(want)
        took_ms = round((time.monotonic() - began) * 1000)
        raw, life_ms = b"", 0
        if landing.error is None:
            try:
                raw, life_ms = _encoded(want.options, want.model, landing.value, now_ms, took_ms)
            except codec.TooLargeError as error:
                self._values.counter.add("dropped_writes")
                shown = self._values.keys.shown(want.key)
                logger.error("What was loaded for %s cannot be cached: %s", shown, error)  # noqa: TRY400
        try:
            wanted = raw and (yield from self._may_store(want, landing.value, now_ms, life_ms))
            stored = raw if wanted else b""
            done = yield from self._finish(want, flight, stored, life_ms)
        except StoreUnavailableError:
            done, stored = False, raw
        if stored and not done:
            self._values.counter.add("dropped_writes")
        self._values.forget(want.key)
        return Landing(raw, landing.value, began=landing.began) if raw else landing

    def _may_store(self, want: _Want[T], value: T | None, now_ms: int, life_ms: int) -> Plan[bool]:
        if value is None or want.options.before_storing is None:
            return True
        return (yield from want.options.before_storing(value, now_ms, life_ms))


def _encoded(
    options: LoadOptions, model: Any, value: Any, now_ms: int, took_ms: int
) -> tuple[bytes, int]:
    """Return the bytes to store for what was loaded, and their life in milliseconds."""
    fresh_ms = milliseconds(options.miss_ttl if value is None else options.ttl, options.jitter)
    life_ms = fresh_ms + round(options.stale_for * 1000)
    fresh_until_ms = now_ms + took_ms + fresh_ms
    if value is None:
        raw = codec.encode_missing(model, fresh_until_ms=fresh_until_ms, took_ms=took_ms)
    else:
        raw = codec.encode_loaded(value, model, fresh_until_ms=fresh_until_ms, took_ms=took_ms)
    return raw, life_ms
