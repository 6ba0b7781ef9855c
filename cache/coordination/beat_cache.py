"""What beats share in the store: which periodic tasks were sent lately, and when a beat ticked last."""

from __future__ import annotations

from datetime import UTC, datetime

from cache import arguments, ttl
from cache.keys import KeyBuilder
from cache.models import BeatStatus
from cache.store.flow import Batch, Flow
from cache.store.operation import Operations, S, operation
from domain.text import escaped

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
    def claim(self, entry: str, beat: str, interval: float) -> Flow[float]:
        """Claim one entry of beat's schedule for one interval: of all beats, one sends it.

        Args:
            entry: its name in the schedule.
            beat: the caller, ``host:pid``.
            interval: seconds between two sendings.

        Returns:
            0.0 when the caller is to send it; otherwise the seconds until the present claim expires.
        """
        key, beat = self._keys.beat_sent_key(entry), arguments.string("beat", beat)
        interval_ms = max(1, round(arguments.seconds("interval", interval) * 1000))
        (claimed,) = yield Batch(("SET", key, beat, "NX", "PX", interval_ms))
        if claimed is not None:
            return 0.0
        (left_ms,) = yield Batch(("PTTL", key))
        if left_ms == _EXPIRED:
            left_ms = 1
        if 0 <= left_ms <= interval_ms:
            return max(1, int(left_ms)) / 1000
        # It lasts longer than a claim can: the store's clock went back, the interval was longer
        # before, or another program wrote the key.
        yield Batch(("SET", key, beat, "PX", interval_ms))
        return 0.0

    @operation
    def release(self, entry: str) -> Flow[None]:
        """Give up a claim whose task could not be sent, so that another beat can send it."""
        yield Batch(("DEL", self._keys.beat_sent_key(entry)))

    @operation
    def tick(self, beat: str) -> Flow[None]:
        """Record that a beat (``host:pid``) has ticked."""
        key, beat = self._keys.beat_key(), arguments.string("beat", beat)
        (time,) = yield Batch(("TIME",))
        # A hash with these fields: `seen doctor` of the release before reads it, too.
        sign = ("HSET", key, "worker", beat, "at", _milliseconds(time))
        yield Batch(sign, ("EXPIRE", key, ttl.BEAT))

    @operation
    def status(self) -> Flow[BeatStatus | None]:
        """Return the last tick of any beat; None when there was none within a day."""
        raw, time = yield Batch(("HGETALL", self._keys.beat_key()), ("TIME",))
        now, fields = _milliseconds(time), dict(zip(raw[::2], raw[1::2], strict=True))
        at = _time(fields.get(b"at"))
        if at is None:
            return None
        return BeatStatus(
            process=_name(fields.get(b"worker", b"")),
            ticked_at=datetime.fromtimestamp(at / 1000, UTC),
            age_seconds=max(0.0, (now - at) / 1000),
        )


#: PTTL's reply for a key that does not exist.
_EXPIRED = -2


def _time(raw: bytes | None) -> int | None:
    """Return a time in milliseconds since the epoch; None for what this service did not write."""
    return int(raw) if raw is not None and raw.isdigit() and len(raw) <= _TIME_DIGITS else None


def _name(raw: bytes) -> str:
    """Return the name of a beat, safe to show whatever program wrote it."""
    return escaped(raw.decode(errors="replace"), _NAME_CHARS)


def _milliseconds(time: tuple[bytes, bytes]) -> int:
    """Return the reply of TIME as milliseconds since the epoch."""
    return int(time[0]) * 1000 + int(time[1]) // 1000
