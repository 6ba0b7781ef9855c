"""Time-ordered job ids: UUID version 7 (RFC 9562, section 5.7).

The twelve bits behind the milliseconds carry a fraction of one (method 3 of section 6.2), so that ids
made within a millisecond keep their order.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid

#: Hexadecimal digits of the beginning of an id: fewer would nearly always fit several jobs.
MIN_PREFIX = 4
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIX = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},32}}")

_lock = threading.Lock()
_last_ticks = 0


def new_job_id() -> str:
    """Return a new UUIDv7 in its canonical text form; ids of one process sort in order of creation."""
    ticks = _next_ticks()
    milliseconds, fraction = divmod(ticks, 4096)
    random_tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_tail
    # Not by `uuid.UUID`, which takes four times as long.
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _next_ticks() -> int:
    """Return the time in 1/4096 ms, always larger than the last one given out."""
    global _last_ticks
    with _lock:
        now = time.time_ns() * 4096 // 1_000_000
        _last_ticks = max(now, _last_ticks + 1)
        return _last_ticks


def is_job_id(text: str) -> bool:
    """Return whether `text` is a UUID in canonical form, as job ids are."""
    return _ID.fullmatch(text) is not None


def id_range(prefix: str) -> tuple[str, str] | None:
    """Return the first and the last possible id that begin with `prefix`; None if no id can.

    Both ends are whole ids, so every database compares them with others by the same rules.

    Args:
        prefix: at least `MIN_PREFIX` digits in upper or lower case, with or without the dashes.
    """
    text = prefix.lower()
    digits = text.replace("-", "")
    if _PREFIX.fullmatch(digits) is None:
        return None
    first, last = (str(uuid.UUID(digits.ljust(32, filler))) for filler in "0f")
    return (first, last) if text == digits or first.startswith(text) else None


def shared_length(one: str, other: str) -> int:
    """Return how many characters the beginnings of two ids have in common."""
    return next(
        (position for position, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
