"""Text in the cells of a terminal: wide characters take two, combining ones none."""

from __future__ import annotations

from rich.cells import cell_len, split_graphemes

#: An extension of at most so many cells, with its dot, stays when a name is shortened.
_LONGEST_EXTENSION = 6
#: … but only beside so many cells of its beginning.
_SHORTEST_START = 3


def width(text: str) -> int:
    """Return how many cells a text takes."""
    return cell_len(text)


def pad(text: str, cells: int) -> str:
    """Return the text, shortened or filled with spaces, so that it takes exactly `cells`."""
    shown = shorten(text, cells)
    return shown + " " * (cells - width(shown))


def shorten(text: str, cells: int, ellipsis: str = "…") -> str:
    """Return a file name in at most `cells`: what is too long is left out of its middle.

    The extension stays where there is room for it and a part of the name.
    """
    if width(text) <= cells:
        return text
    room = cells - width(ellipsis)
    if room <= 0:
        return _start(text, max(0, cells))
    extension = width(_extension(text))
    if room - extension < _SHORTEST_START:
        extension = 0
    # Half of a long name is its end: episodes and parts differ there.
    tail = _end(text, max(extension, room // 2 if room >= 2 * _LONGEST_EXTENSION else 0))
    return _start(text, room - width(tail)) + ellipsis + tail


def clip(text: str, cells: int, ellipsis: str = "…") -> str:
    """Return a sentence in at most `cells`: what is too long is left out of its end."""
    if width(text) <= cells:
        return text
    room = cells - width(ellipsis)
    return _start(text, room).rstrip() + ellipsis if room > 0 else _start(text, max(0, cells))


def _extension(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    found = dot + extension
    return found if stem and extension and width(found) <= _LONGEST_EXTENSION else ""


def _start(text: str, cells: int) -> str:
    """Return as many whole characters of the beginning as fit."""
    for start, _, size in split_graphemes(text)[0]:
        cells -= size
        if cells < 0:
            return text[:start]
    return text


def _end(text: str, cells: int) -> str:
    """Return as many whole characters of the end as fit."""
    for _, end, size in reversed(split_graphemes(text)[0]):
        cells -= size
        if cells < 0:
            return text[end:]
    return text
