"""What beat leaves in the store: its sign of life, and when it last sent each periodic task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cache import arguments
from cache import ttl as ttls
from cache.keys import KeyBuilder
from cache.models import BeatStatus
from cache.store import scripts
from cache.store.flow import Argument, Batch, Flow
from cache.store.operation import Operations, S, operation
from domain.text import escaped

_STANDBY = b"standby:"
#: Digits of a time in milliseconds, up to the year 5138; characters of a name that are shown.
_TIME_DIGITS, _NAME_CHARS = 14, 300


class BeatCache(Operations[S]):
    """All times are the store's. On an `AsyncStore` every method is a coroutine.

    Every method raises StoreUnavailableError when the store does not answer.
    """

    def __init__(self, store: S, keys: KeyBuilder) -> None:
        super().__init__(store)
        self._keys = keys

    @operation
    def tick(self, worker: str, ages: Mapping[str, float]) -> Flow[None]:
        """Note that the beat that leads has ticked.

        Args:
            worker: who it is, ``host:pid``.
            ages: how many seconds ago it sent each entry of its schedule.
        """
        runs = [
            part
            for name, age in arguments.mapping("ages", ages).items()
            for part in (arguments.string("ages", name), _age_ms(age))
        ]
        runs_key = self._keys.beat_runs_key()
        yield from scripts.run_pipeline(
            ["beat_sign", "beat_runs"],
            [self._sign(worker, 1), scripts.call("beat_runs", runs_key, _TTL_MS, *runs)],
        )

    @operation
    def stand_by(self, worker: str) -> Flow[None]:
        """Note that another beat stands by."""
        yield from scripts.run_pipeline(["beat_sign"], [self._sign(worker, 0)])

    @operation
    def last_runs(self) -> Flow[dict[str, float]]:
        """Return how many seconds ago each entry was sent; below 0 when the store's clock went back."""
        raw, time = yield Batch(("HGETALL", self._keys.beat_runs_key()), ("TIME",))
        now, pairs = _milliseconds(time), zip(raw[::2], raw[1::2], strict=True)
        times = ((name, _time(at)) for name, at in pairs)
        return {
            name.decode(errors="replace"): (now - at) / 1000 for name, at in times if at is not None
        }

    @operation
    def status(self) -> Flow[BeatStatus | None]:
        """Return who ticked last and when; None when nobody has within a day."""
        raw, time = yield Batch(("HGETALL", self._keys.beat_key()), ("TIME",))
        now, fields = _milliseconds(time), dict(zip(raw[::2], raw[1::2], strict=True))
        at = _time(fields.get(b"at"))
        if at is None:
            return None
        standbys = sorted(
            _name(field.removeprefix(_STANDBY))
            for field, seen in fields.items()
            if field.startswith(_STANDBY) and (_time(seen) or 0) > now - _STANDBY_MS
        )
        return BeatStatus(
            worker=_name(fields.get(b"worker", b"")),
            ticked_at=datetime.fromtimestamp(at / 1000, UTC),
            age_seconds=max(0.0, (now - at) / 1000),
            standbys=tuple(standbys),
        )

    def _sign(self, worker: str, leads: int) -> tuple[Argument, ...]:
        key, worker = self._keys.beat_key(), arguments.string("worker", worker)
        return scripts.call("beat_sign", key, worker, leads, _STANDBY_MS, _TTL_MS)


def _age_ms(age: float) -> int:
    """Return an age in milliseconds; below 0 when the clock of the store went back."""
    longest = arguments.MAX_TTL
    return round(arguments.number("ages", age, least=-longest, most=longest) * 1000)


def _time(raw: bytes | None) -> int | None:
    """Return a time in milliseconds since the epoch; None for what this service did not write."""
    return int(raw) if raw is not None and raw.isdigit() and len(raw) <= _TIME_DIGITS else None


def _name(raw: bytes) -> str:
    """Return the name of a beat, safe to show whoever wrote it."""
    return escaped(raw.decode(errors="replace"), _NAME_CHARS)


def _milliseconds(time: tuple[bytes, bytes]) -> int:
    """Return what TIME answers as milliseconds since the epoch."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


_TTL_MS = ttls.BEAT * 1000
_STANDBY_MS = ttls.BEAT_STANDBY * 1000
