"""Request headers from a file of ``Name: value`` lines, for ``--header @FILE``."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from cli.arguments.text_file import read_text
from domain.errors import InvalidInputError
from domain.request_fields import check_headers

#: Wrong lines that one message describes.
_DESCRIBED = 4
_REQUEST_LINE = re.compile(r"[A-Z]{3,10} \S+ HTTP/[0-9.]+", re.IGNORECASE)
_STATUS_LINE = re.compile(r"HTTP/[0-9.]+ [0-9]{3}", re.IGNORECASE)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def read_headers(path: str) -> dict[str, str]:
    """Return the headers of a file; blank lines and lines that begin with ``#`` are left out.

    Raises:
        InvalidInputError: it names the file and each wrong line, and says what to do; it shows no value.
    """
    headers: dict[str, str] = {}
    names: set[str] = set()
    wrong: list[str] = []
    for number, line in enumerate(read_text("--header", path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        problem = _problem(line, names)
        if problem is not None:
            wrong.append(f"Line {number}: {problem}")
            continue
        name, _, value = line.partition(":")
        headers[name] = value
        names.add(name.lower())
    if wrong:
        raise InvalidInputError("--header", path, wrong_lines(wrong))
    if not headers:
        raise InvalidInputError("--header", path, "The file has no headers.")
    return headers


def wrong_lines(descriptions: Sequence[str]) -> str:
    """Join what is wrong with lines of a file; of many, the first ones."""
    more = len(descriptions) - _DESCRIBED
    lines = "line is" if more == 1 else "lines are"
    rest = [f"{more} more {lines} wrong."] if more > 0 else []
    return " ".join([*descriptions[:_DESCRIBED], *rest])


def _problem(line: str, names: Collection[str]) -> str | None:
    """Return what is wrong with a line and what to do; None if nothing is."""
    name, colon, value = line.partition(":")
    if line.startswith(":"):
        return "a browser's pseudo header; remove it."
    if _REQUEST_LINE.match(line):
        return "the request line; remove it."
    if _STATUS_LINE.match(line):
        return "the status line of a response; give headers of a request."
    if line[0] in " \t":
        return "it continues the line before it; write each header on one line."
    if not colon or not _NAME.fullmatch(name) or value.startswith("//"):
        return "no header; write 'Name: value' on one line."
    if name.lower() in names:
        return f"{name} again; each name may be given once."
    try:
        check_headers({name: value})
    except InvalidInputError as error:
        remedy = error.remedy
        return f"{name}. {remedy}" + (" Remove it." if remedy.startswith("This header") else "")
    return None
