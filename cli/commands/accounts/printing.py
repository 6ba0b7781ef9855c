"""Lists of users and keys in columns."""

from __future__ import annotations

from collections.abc import Sequence

from domain.text import printable


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns that fit their longest text; the last one ends where it ends."""
    from cli.output.text_width import pad, width

    shown = [[printable(text) for text in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [pad(text, cells) for text, cells in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
