"""Numbers, times and names as people read them. Sizes are decimal: 1 MB is 10^6 bytes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from domain.errors import InvalidInputError
from domain.job import Job

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?) ?([kmgtp]?)(i?)b?", re.IGNORECASE | re.ASCII)


def size(count: float) -> str:
    """Return bytes as ``12.3 MB``."""
    value, unit = float(count), 0
    while value >= 999.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{value:.0f} B"


def parse_size(option: str, text: str) -> int:
    """Return bytes from ``5000``, ``1.5k``, ``5G``, ``5 GB`` (powers of 1000) or ``5GiB`` (of 1024).

    Raises:
        InvalidInputError: it is none of these; the field is `option`.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise InvalidInputError(option, text, "Write a size as 5000, 5k, 5M, 5G or 5GiB.")
    exponent = " kmgtp".index(match[2].lower() or " ")
    return int(Decimal(match[1]) * (1024 if match[3] else 1000) ** exponent)


def rate(megabits: float) -> str:
    """Return megabits a second as bytes a second, ``85.2 MB/s``."""
    return f"{size(megabits * 1e6 / 8)}/s"


def duration(seconds: float) -> str:
    """Return a time span as ``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def moment(when: datetime) -> str:
    """Return a moment in the reader's own time zone."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(when: datetime) -> str:
    """Return how long ago something was."""
    seconds = (datetime.now(UTC) - when).total_seconds()
    if seconds < 86_400:
        return f"{duration(seconds)} ago"
    return f"{seconds // 86_400:.0f} d ago"


def state_text(job: Job) -> str:
    """Return a job's state, and what was asked of a running one: ``downloading (pause requested)``."""
    return job.status.value + (f" ({job.control} requested)" if job.control else "")


def print_json(value: Any) -> None:
    """Print a value for programs."""
    print(as_json(value, indent=2))


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON whose strings hold no character that a terminal would act on."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    # json.dumps itself breaks lines by newlines alone, and escapes those in strings.
    return "".join(char if char.isprintable() or char == "\n" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return json.dumps(char)[1:-1]
