"""A JSON list on standard output, printed element by element as `formatting.print_json` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from textwrap import indent

from cli.output import formatting
from cli.output.messages import clear_busy


class JsonList:
    """Prints a list.

    Attributes:
        is_open: a part of it has been printed.
    """

    def __init__(self) -> None:
        self.is_open = False

    def add(self, values: Iterable[object]) -> None:
        """Print elements."""
        clear_busy()
        for value in values:
            text = indent(formatting.as_json(value, indent=2), "  ")
            sys.stdout.write(("," if self.is_open else "[") + f"\n{text}")
            self.is_open = True

    def end(self) -> None:
        """Print the end of the list."""
        print("\n]" if self.is_open else "[]", flush=True)
