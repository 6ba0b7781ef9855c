"""A counter on a terminal, for commands that change many jobs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counter() -> Iterator[Callable[[int], None]]:
    """Yield a function that shows, on a terminal, how many jobs have been changed."""
    is_shown = False

    def count(number: int) -> None:
        nonlocal is_shown
        if sys.stderr.isatty():
            print(f"\r{number:,} jobs … ", end="", file=sys.stderr, flush=True)
            is_shown = True

    try:
        yield count
    finally:
        if is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
