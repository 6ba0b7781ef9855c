"""Numbers, times and states as text. Sizes count in 1000s: 1 MB is 10^6 bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cli.output.messages import clear_busy

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Return bytes as ``12.3 MB``."""
    power, decimals = _scale(count)
    return f"{count / 1000**power:.{decimals}f} {_UNITS[power]}"


def _scale(count: float) -> tuple[int, int]:
    """Return the power of 1000 in which a size is shown, and its decimals."""
    power = 0
    while count / 1000**power >= 999.95 and power < len(_UNITS) - 1:
        power += 1
    return power, 1 if power else 0


def rate(bytes_per_second: float) -> str:
    """Return a speed as ``85.2 MB/s``."""
    return f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """Return a time span as ``42 s``, ``3 min 20 s``, ``2 h 05 min`` or ``4 d 03 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 100:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02} h"


def elapsed(seconds: float) -> str:
    """Return how long something took, ``0.04 s``, ``3.2 s`` or ``2 min 10 s``."""
    if seconds >= 9.95:
        return duration(seconds)
    return f"{max(0.0, seconds):.{2 if seconds < 0.995 else 1}f} s"


def count(number: int, thing: str) -> str:
    """Return a number of things, ``1 file`` or ``1,000 files``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def part_of(done: float, total: float) -> str:
    """Return two sizes in the unit of the second one: ``12.3 of 200.0 MB``."""
    if done > total:
        return f"{size(done)} of {size(total)}"
    power, decimals = _scale(total)
    # Rounded down: the same number twice means that every byte is there.
    step = 10**decimals
    shown = done * step // 1000**power / step
    return f"{shown:.{decimals}f} of {size(total)}"


def moment(when: datetime) -> str:
    """Return a time in the local time zone."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(when: datetime) -> str:
    """Return the age of a time, ``42 s ago``."""
    seconds = (datetime.now(UTC) - when).total_seconds()
    if seconds < 86_400:
        return f"{duration(seconds)} ago"
    return f"{seconds // 86_400:.0f} d ago"


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    clear_busy()
    print(as_json(value, indent=2))


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Return JSON in which every character is visible: a terminal acts on none of them."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    # json.dumps itself breaks lines by newlines alone, and escapes those in strings.
    return "".join(char if char.isprintable() or char == "\n" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return json.dumps(char)[1:-1]
