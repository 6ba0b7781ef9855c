"""A counter on a terminal, for commands that change many jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.output.messages import clear_busy, show_busy


@contextmanager
def counter(what: str = "jobs") -> Iterator[Callable[[int], None]]:
    """Yield a function that shows, on a terminal, how many jobs have been changed."""

    def show(number: int) -> None:
        show_busy(f"{number:,} {what} …")

    try:
        yield show
    finally:
        clear_busy()
