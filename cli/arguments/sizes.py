"""Sizes and rates as typed: ``5000``, ``1.5k``, ``10M``, ``5 GB`` or ``5GiB``.

k, M, G, T and P count in 1000s, Ki, Mi, Gi, Ti and Pi in 1024s; upper or lower case, with or without B.
"""

from __future__ import annotations

import re
from decimal import Decimal

from domain.errors import InvalidInputError
from domain.limits import MAX_RATE, MIN_RATE

#: For help texts.
UNITS_HELP = "k, M, G count in 1000s, Ki, Mi, Gi in 1024s"
NO_LIMIT = "none"

_PREFIXES = " kmgtp"
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?) ?(?:([kmgtp])(i?))?b?", re.IGNORECASE | re.ASCII)


def parse_size(option: str, text: str) -> int:
    """Return a number of bytes.

    Raises:
        InvalidInputError: `text` is not a size; the error names `option`.
    """
    size = _parse(text)
    if size is None:
        raise InvalidInputError(
            option, text, f"Write a size as 5000, 5k, 5M or 5GiB: {UNITS_HELP}."
        )
    return size


def parse_rate(option: str, text: str) -> int | None:
    """Return bytes a second, or None for ``none``.

    Raises:
        InvalidInputError: `text` is not a rate, or out of range; the error names `option`.
    """
    if text.lower() == NO_LIMIT:
        return None
    rate = _parse(text)
    if rate is None:
        raise InvalidInputError(
            option,
            text,
            f'Write bytes a second as 500k, 10M or 1.5MiB ({UNITS_HELP}), or "{NO_LIMIT}".',
        )
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInputError(
            option,
            text,
            f'A rate is {MIN_RATE >> 10}Ki to {MAX_RATE >> 40}Ti bytes a second, or "{NO_LIMIT}".',
        )
    return rate


def _parse(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(Decimal(number) * base ** _PREFIXES.index((prefix or " ").lower()))
