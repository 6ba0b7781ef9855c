"""Text from outside, made safe to show on one line of a log or a terminal."""

from __future__ import annotations

import codecs

#: Found now: Python opens the codec's file, and a process may have no descriptor to spare later.
_encode = codecs.getencoder("unicode_escape")


def escaped(text: str, limit: int | None = None) -> str:
    r"""Return `text` with every character that is not visible written as an escape, such as ``\x1b``.

    That covers control characters, newlines, escape sequences, marks that change the direction of text,
    zero-width characters and lone surrogates.

    Args:
        limit: characters of `text` to keep; what follows is left out, and the result says how much.
    """
    kept = text if limit is None else text[:limit]
    shown = kept if kept.isprintable() else "".join(_escape(char) for char in kept)
    cut = len(text) - len(kept)
    return f"{shown}… ({cut:,} more characters)" if cut else shown


def printable(text: str) -> str:
    """Return text without characters that a terminal would act on instead of showing."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _escape(char: str) -> str:
    return char if char.isprintable() else _encode(char, "strict")[0].decode("ascii")
