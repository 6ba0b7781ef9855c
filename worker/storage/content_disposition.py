"""Parses the file name in a Content-Disposition header (RFC 6266, RFC 8187), as servers really send it.

Headers that break the grammar are read where their meaning is clear, mostly as browsers do; otherwise
they have no name. Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, count, takewhile
from urllib.parse import unquote_to_bytes

Parameter = tuple[str, str]

#: A parameter's name.
_NAME = re.compile(r'[^=;"]*')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_TO_SEMICOLON = re.compile(r"[^;]*")
#: The start of a second header that a proxy has joined to the first.
_NEXT_HEADER = re.compile(
    r",\s*(?:(?:attachment|inline|form-data)\s*(?:[;,]|\Z)|filename\*?\s*=)", re.IGNORECASE
)
#: Windows paths, whose backslashes senders forget to escape.
_WINDOWS_PATH = re.compile(r'(?:[A-Za-z]:|\.{1,2})?\\(?!")')
#: RFC 2231, section 3: a value in several parts, numbered without leading zeros.
_CONTINUATION = re.compile(r"filename\*(0|[1-9][0-9]{0,2})(\*?)")
#: Accepted charsets of the extended form. Python has other codecs that are not charsets
#: (unicode_escape).
_CHARSET = re.compile(
    r"utf-?8|us-ascii|iso-?8859-\d{1,2}|windows-125\d|gbk|gb2312|gb18030|big5|shift[_-]jis|euc-(jp|kr)"
    r"|koi8-[ru]",
    re.IGNORECASE,
)
_LATIN = frozenset({"us-ascii", "iso-8859-1", "iso8859-1", "windows-1252"})


def filename_from_header(header: str) -> str | None:
    """Return the file name in a header, unchanged, or None if it has none.

    The extended form (``filename*``) is preferred, then the numbered parts of RFC 2231, then the plain
    form. Of several of one form, the first readable one is used.

    Args:
        header: the field's value, with one character for each byte.
    """
    parameters = list(_parameters(header))
    names = chain(
        (_extended(value) for name, value in parameters if name == "filename*"),
        [_continued_parameter(parameters)],
        (_plain(value) for name, value in parameters if name == "filename"),
    )
    return next((name for name in names if name), None)


def _parameters(header: str) -> Iterator[Parameter]:
    """Yield (name in lower case, value without quotes) of each parameter; skip anything else."""
    position, has_name = 0, False
    while position < len(header):
        name, position = _match(_NAME, header, position)
        if header.startswith("=", position):
            value, position, is_last = _value(header, position + 1)
            # Some servers write a comma instead of the semicolon after the type.
            name = name.rpartition(",")[2].strip().lower()
            yield name, value
            has_name = has_name or name.startswith("filename")
            if is_last and has_name:
                return
        elif header.startswith('"', position):
            _, position, _ = _value(header, position)
        position += 1  # the semicolon


def _value(header: str, position: int) -> tuple[str, int, bool]:
    """Return a value, the position of the next semicolon, and whether another header starts before."""
    while header[position : position + 1] in {" ", "\t"}:
        position += 1
    quoted = _QUOTED.match(header, position)
    if quoted is not None:
        after, end = _match(_TO_SEMICOLON, header, quoted.end())
        return _unescaped(quoted[1]), end, after.lstrip().startswith(",")
    # Without quotes, or with an opening quote that is never closed.
    value, end = _match(_TO_SEMICOLON, header, position)
    cut = _NEXT_HEADER.search(f"{value};")
    value = value if cut is None else value[: cut.start()]
    if value.startswith('"'):
        value = _unescaped(value[1:].rstrip("\\"))
    return value.strip(" \t"), end, cut is not None


def _match(pattern: re.Pattern[str], text: str, position: int) -> tuple[str, int]:
    """Return what `pattern`, which always matches, matches at `position`, and its end."""
    match = pattern.match(text, position)
    return (match[0], match.end()) if match else ("", position)


def _unescaped(text: str) -> str:
    escaped = r'\\(["\\])' if _WINDOWS_PATH.match(text) else r"\\(.)"
    return re.sub(escaped, r"\1", text, flags=re.DOTALL)


def _extended(value: str) -> str | None:
    """Decode ``charset'language'percent-encoded``; without both quotes all of it is UTF-8."""
    fields = value.split("'", 2)
    if len(fields) == 2:
        return None
    charset, encoded = (fields[0], fields[2]) if len(fields) == 3 else ("", value)
    return _decoded(unquote_to_bytes(_to_bytes(encoded)), charset or "utf-8")


def _continued_parameter(parameters: Iterable[Parameter]) -> str | None:
    parts: dict[int, tuple[bool, str]] = {}
    for name, value in parameters:
        match = _CONTINUATION.fullmatch(name)
        if match is not None:
            parts.setdefault(int(match[1]), (bool(match[2]), value))
    if 0 not in parts:
        return None
    charset = ""
    is_encoded, first = parts[0]
    if is_encoded and first.count("'") >= 2:
        charset, _language, first = first.split("'", 2)
        parts[0] = (True, first)
    in_order = (parts[number] for number in takewhile(parts.__contains__, count()))
    data = b"".join(
        unquote_to_bytes(_to_bytes(text)) if is_encoded else _to_bytes(text)
        for is_encoded, text in in_order
    )
    return _decoded(data, charset) if charset else _as_sent(data)


def _plain(value: str) -> str:
    return _as_sent(_to_bytes(value))


def _to_bytes(text: str) -> bytes:
    """Return the bytes of a value with one character for each byte; other characters become UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeError:
        return text.encode(errors="replace")


def _as_sent(data: bytes) -> str:
    """Decode bytes without a declared charset: as UTF-8 if they are valid, as many servers send."""
    try:
        return data.decode()
    except UnicodeError:
        return _latin(data)


def _decoded(data: bytes, charset: str) -> str | None:
    if not _CHARSET.fullmatch(charset):
        return None
    if charset.lower() in _LATIN:
        return _latin(data)
    try:
        return data.decode(charset)
    except (LookupError, ValueError):
        return None


def _latin(data: bytes) -> str:
    """Decode ISO 8859-1 as browsers do: as Windows-1252, which has letters instead of controls."""
    return "".join(_latin_character(byte) for byte in data)


def _latin_character(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeError:
        return chr(byte)
