"""What callers give the cache, checked before anything is sent: one function a kind of argument.

Each returns its argument, as the type it should have, or raises InvalidInputError. A bool is no number:
``limit=True`` is a slip, not a limit of one.
"""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any, TypeVar

from domain.errors import InvalidInputError

T = TypeVar("T")


class InvalidNumberError(InvalidInputError, ValueError):
    """A number that does not fit; a ValueError as well, which is what such numbers raise in Python."""


#: Longest life in seconds, a century: what is longer is a mistake, or infinite.
MAX_TTL = 100 * 366 * 86_400.0
#: Longest key, token, reason or name of a member: everything the store has to compare or repeat.
MAX_TEXT_BYTES = 16_384
#: The store counts in signed 64 bits.
LARGEST_INTEGER = 2**63 - 1
#: Sorted sets keep their scores as doubles, which count exactly up to here.
LARGEST_EXACT_INTEGER = 2**53


def string(field: str, value: Any) -> str:
    """Check a text that has at least one character and that UTF-8 can carry."""
    if not isinstance(value, str):
        raise InvalidInputError(field, value, "It is a text.")
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
        raise InvalidInputError(field, value, f"It may have {MAX_TEXT_BYTES:,} bytes at most.")
    return value


def key(value: Any) -> str:
    """Check a whole key."""
    return string("key", value)


def strings(field: str, values: Any) -> list[str]:
    """Check several texts, given as a list, a tuple, a set or the like; a single text is none."""
    return [string(field, value) for value in items(field, values)]


def items(field: str, values: Any) -> list[Any]:
    """Check something that has several members, and return them."""
    if isinstance(values, str | bytes):
        raise InvalidInputError(field, values, "It is a list, not a single value.")
    try:
        return list(values)
    except TypeError:
        raise InvalidInputError(field, values, "It is a list.") from None


def pairs(field: str, values: Any) -> list[tuple[Any, Any]]:
    """Check a list of pairs."""
    found = items(field, values)
    for value in found:
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise InvalidInputError(field, value, "It is a list of pairs.")
    return [(first, second) for first, second in found]


def mapping(field: str, value: Any) -> dict[Any, Any]:
    """Check a mapping, and return what is in it."""
    try:
        return dict(value.items())
    except (AttributeError, TypeError):
        raise InvalidInputError(field, value, "It is a mapping.") from None


def integer(field: str, value: Any, *, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """Check a whole number between two bounds; 5.0 is one, 5.5 is not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bounds = f"{least} or more" if most == LARGEST_INTEGER else f"{least} to {most}"
        raise InvalidNumberError(field, value, f"It is a whole number, {bounds}.")
    return value


def number(field: str, value: float, *, least: float = 0.0, most: float = MAX_TTL) -> float:
    """Check a number between two bounds, neither infinite nor NaN."""
    if not _is_number(value) or not least <= value <= most:
        raise InvalidNumberError(
            field, value, f"It is a number, {least:g} or more, {most:g} at most."
        )
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def milliseconds(value: float, jitter: float = 0.0, *, field: str = "ttl") -> int:
    """Return a life in seconds as the store takes it, shortened at random by a share up to `jitter`."""
    if not _is_number(value) or not 0 < value <= MAX_TTL:
        raise InvalidInputError(
            field, value, "It is a number of seconds, more than 0, a century at most."
        )
    if number("jitter", jitter, most=1.0) == 1:
        raise InvalidInputError("jitter", jitter, "It is a share of the TTL, 0 to less than 1.")
    # Only ever shorter: nobody is served a value for longer than was said.
    return max(1, round(value * 1000 * (1 - jitter * random.random())))  # noqa: S311 - no secret


def instance(field: str, value: Any, kind: type[T]) -> T:
    """Check that something is of one of our types."""
    if not isinstance(value, kind):
        raise InvalidInputError(field, value, f"It is a {kind.__name__}.")
    return value


def aware_datetime(field: str, value: Any) -> datetime:
    """Check a moment that says its time zone."""
    if not isinstance(value, datetime):
        raise InvalidInputError(field, value, "It is a datetime.")
    if value.utcoffset() is None:
        raise InvalidInputError(field, value, "It has a time zone, such as datetime.now(UTC).")
    return value


def choice(field: str, value: Any, choices: tuple[str, ...]) -> str:
    """Check one of several words."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(field, value, f"It is one of {', '.join(choices)}.")
    return value


def function(field: str, value: Any) -> Any:
    """Check something that can be called."""
    if not callable(value):
        raise InvalidInputError(field, value, "It is a function.")
    return value
