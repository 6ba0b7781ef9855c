"""The layout of help pages: wrapped paragraphs, and names with their explanations in two columns."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

#: Longer lines are hard to read, and many terminals have no more columns.
_WIDEST, _NARROWEST = 80, 40
#: The column of the explanations, at most.
_LONGEST_NAME = 26
_INDENT = "  "


def page_width() -> int:
    """Return the number of columns of a help page."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))


def heading(text: str) -> str:
    """Return the title of a section, bold on a terminal."""
    is_styled = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if not is_styled or os.environ.get("TERM", "dumb") == "dumb":
        return f"{text}:"
    return f"\x1b[1m{text}:\x1b[0m"


def paragraphs(text: str, width: int) -> list[str]:
    """Return paragraphs as lines of at most `width` columns; indented lines are kept as they are."""
    lines: list[str] = []
    for block in text.split("\n\n"):
        if lines:
            lines.append("")
        if block.startswith(" "):
            lines += block.splitlines()
        else:
            lines += _wrap(block, width)
    return lines


def definitions(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return names and their explanations in two columns; a long name has a line of its own."""
    longest = min(_LONGEST_NAME, width // 2 - 4)
    column = max((len(name) for name, _ in rows if len(name) <= longest), default=longest)
    lines: list[str] = []
    for name, explanation in rows:
        first, *rest = _wrap(explanation, width - len(_INDENT) - column - 2) or [""]
        if len(name) <= column:
            lines.append(f"{_INDENT}{name:<{column}}  {first}".rstrip())
        else:
            lines += [f"{_INDENT}{line}" for line in _wrap_name(name, width - len(_INDENT))]
            rest = [first, *rest]
        lines += [f"{_INDENT}{'':<{column}}  {line}" for line in rest]
    return lines


def indented(text: str, width: int) -> list[str]:
    """Return lines with an indent, unwrapped where they fit: examples are there to be copied."""
    return [line for one in text.splitlines() for line in _indent_one(one, width)]


def joined(sections: Iterable[Sequence[str]]) -> str:
    """Return sections with an empty line between two of them."""
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _indent_one(line: str, width: int) -> list[str]:
    return textwrap.wrap(
        line,
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT * 3,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    ) or [""]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _wrap_name(name: str, width: int) -> list[str]:
    return textwrap.wrap(name, width, subsequent_indent=_INDENT * 4, break_on_hyphens=False)
