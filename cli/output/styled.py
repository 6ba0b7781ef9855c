"""Lines of text with styles from the terminal's own 16 colours."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cli.output.text_width import clip, width


class Style(StrEnum):
    """How a part of a line looks; the value is its SGR parameter (ECMA-48).

    No style carries a meaning of its own: without colour the words and signs say the same. Nothing has a
    fixed colour, so that everything is readable on light and dark backgrounds.
    """

    PLAIN = ""
    FAINT = "2"
    GOOD = "32"
    BAD = "31"
    PENDING = "33"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a line.

    Attributes:
        text: visible characters only.
        style: its look.
        column: where it starts, from 0; None for the end of the part before. A terminal may count
            the cells of a name in another way, and columns must stay in line all the same.
    """

    text: str
    style: Style = Style.PLAIN
    column: int | None = None


Line = tuple[Part, ...]


def line(text: str, style: Style = Style.PLAIN) -> Line:
    """Return a line of one part."""
    return (Part(text, style),)


def plain(parts: Line) -> str:
    """Return a line without styles."""
    shown = ""
    for part in parts:
        shown += " " * ((part.column or 0) - width(shown)) + part.text
    return shown.rstrip()


def as_ansi(parts: Line, *, colour: bool) -> str:
    """Return a line for a terminal; without colour it has no styles at all."""
    shown, position = "", 0
    for part in parts:
        if part.column is not None and part.column:
            shown += " " * (part.column - position) + f"\x1b[{part.column + 1}G"
            position = part.column
        styled = colour and part.style is not Style.PLAIN
        shown += f"\x1b[{part.style}m{part.text}\x1b[0m" if styled else part.text
        position += width(part.text)
    return shown


def fit(parts: Line, cells: int) -> Line:
    """Return a line that takes at most `cells`."""
    fitting: list[Part] = []
    position = 0
    for part in parts:
        position = max(position, part.column or 0)
        if position >= cells:
            break
        text = clip(part.text, cells - position)
        fitting.append(Part(text, part.style, part.column))
        position += width(text)
    return tuple(fitting)
