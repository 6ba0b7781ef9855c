"""Time-ordered job ids: UUID version 7 (RFC 9562, section 5.7).

The twelve bits behind the milliseconds carry a fraction of one (method 3 of section 6.2), so that ids
made within a millisecond keep their order.
"""

from __future__ import annotations

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last_ticks = 0


def new_job_id() -> str:
    """Return a new UUIDv7 in its canonical text form; ids of one process sort in order of creation."""
    ticks = _next_ticks()
    milliseconds, fraction = divmod(ticks, 4096)
    random_tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_tail
    return str(uuid.UUID(int=value))


def _next_ticks() -> int:
    """Return the time in 1/4096 ms, always larger than the last one given out."""
    global _last_ticks
    with _lock:
        now = time.time_ns() * 4096 // 1_000_000
        _last_ticks = max(now, _last_ticks + 1)
        return _last_ticks


def is_job_id(text: str) -> bool:
    """Return whether `text` is a UUID in canonical form, as job ids are."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
