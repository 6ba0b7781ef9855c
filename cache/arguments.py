"""Checks of the arguments of the cache's methods, before a command is sent. One function a type.

Each function returns its argument, converted to the right type, or raises InvalidInputError. A bool is
not a number: ``limit=True`` is a mistake, not a limit of 1.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any, TypeVar

from domain.errors import InvalidInputError

T = TypeVar("T")

#: A TTL or another length of time: seconds, or a timedelta. `seconds` and `milliseconds` convert it.
Duration = float | timedelta


class InvalidNumberError(InvalidInputError, ValueError):
    """An invalid number. Also a ValueError, as Python raises it for such numbers."""


#: The longest TTL in seconds, a century: a longer one is a mistake, or infinite.
MAX_TTL = 100 * 366 * 86_400.0
#: The longest key, token, reason or member name: strings that the store compares or returns.
MAX_TEXT_BYTES = 16_384
#: The store's counters are signed 64-bit integers.
LARGEST_INTEGER = 2**63 - 1
#: The scores of sorted sets are doubles, which are exact up to this integer.
LARGEST_EXACT_INTEGER = 2**53


def string(field: str, value: Any) -> str:
    """Check a non-empty string that can be encoded in UTF-8."""
    if not isinstance(value, str):
        raise InvalidInputError(field, value, "It must be a string.")
    if not value:
        raise InvalidInputError(field, value, "It must not be empty.")
    if value.isascii() and len(value) <= MAX_TEXT_BYTES:
        return value
    return _encodable(field, value)


def _encodable(field: str, value: str) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(field, value, "It is not valid Unicode text.") from error
    if size > MAX_TEXT_BYTES:
        raise InvalidInputError(field, value, f"It must have at most {MAX_TEXT_BYTES:,} bytes.")
    return value


def text(field: str, value: Any) -> str:
    """Check a string of any content, which is compared and not sent."""
    if not isinstance(value, str):
        raise InvalidInputError(field, value, "It must be a string.")
    return value


def key(value: Any) -> str:
    """Check a key with its namespace."""
    return string("key", value)


def strings(field: str, values: Any) -> list[str]:
    """Check a collection of strings; a single string is refused."""
    return [string(field, value) for value in items(field, values)]


def items(field: str, values: Any) -> list[Any]:
    """Check an iterable that is not a string, and return its members."""
    if isinstance(values, str | bytes):
        raise InvalidInputError(field, values, "It must be a list, not a single value.")
    try:
        return list(values)
    except TypeError:
        raise InvalidInputError(field, values, "It must be a list.") from None


def pairs(field: str, values: Any) -> list[tuple[Any, Any]]:
    """Check a list of pairs."""
    found = items(field, values)
    for value in found:
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise InvalidInputError(field, value, "It must be a list of pairs.")
    return [(first, second) for first, second in found]


def mapping(field: str, value: Any) -> dict[Any, Any]:
    """Check a mapping, and return it as a dict."""
    try:
        return dict(value.items())
    except (AttributeError, TypeError):
        raise InvalidInputError(field, value, "It must be a mapping.") from None


def integer(field: str, value: Any, *, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """Check an integer between two bounds; 5.0 is accepted, 5.5 is not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bounds = f"{least} or more" if most == LARGEST_INTEGER else f"{least} to {most}"
        raise InvalidNumberError(field, value, f"It must be an integer, {bounds}.")
    return value


def number(field: str, value: float, *, least: float = 0.0, most: float = MAX_TTL) -> float:
    """Check a number between two bounds; infinity and NaN are refused."""
    if not _is_number(value) or not least <= value <= most:
        raise InvalidNumberError(field, value, f"It must be a number from {least:g} to {most:g}.")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def seconds(field: str, value: Duration, *, least: float = 0.0) -> float:
    """Check a duration of at least `least` seconds, and return it in seconds."""
    length = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(length) or not least <= length <= MAX_TTL:
        problem = f"It must be a number of seconds or a timedelta, from {least:g} s to a century."
        raise InvalidNumberError(field, value, problem)
    return float(length)


def milliseconds(value: Duration, jitter: float = 0.0, *, field: str = "ttl") -> int:
    """Return a TTL in milliseconds, randomly shortened by a share of up to `jitter`."""
    length = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(length) or not 0 < length <= MAX_TTL:
        raise InvalidInputError(
            field, value, "It must be a positive number of seconds or timedelta, at most a century."
        )
    if number("jitter", jitter, most=1.0) == 1:
        raise InvalidInputError(
            "jitter", jitter, "It must be a share of the TTL: at least 0, less than 1."
        )
    # Only ever shorter: a value is never served for longer than its TTL.
    return max(1, round(length * 1000 * (1 - jitter * random.random())))  # noqa: S311 - no secret


def instance(field: str, value: Any, kind: type[T]) -> T:
    """Check the type of an argument."""
    if not isinstance(value, kind):
        raise InvalidInputError(field, value, f"It must be a {kind.__name__}.")
    return value


def aware_datetime(field: str, value: Any) -> datetime:
    """Check a datetime with a time zone."""
    if not isinstance(value, datetime):
        raise InvalidInputError(field, value, "It must be a datetime.")
    if value.utcoffset() is None:
        raise InvalidInputError(
            field, value, "It must have a time zone, such as datetime.now(UTC)."
        )
    return value


def choice(field: str, value: Any, choices: tuple[str, ...]) -> str:
    """Check a string that must be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(field, value, f"It must be one of {', '.join(choices)}.")
    return value


def function(field: str, value: Any) -> Any:
    """Check a callable."""
    if not callable(value):
        raise InvalidInputError(field, value, "It must be a function.")
    return value
