"""The file name in a Content-Disposition header (RFC 6266, RFC 8187), as servers really write it.

Headers that break the grammar are read as far as it is plain what was meant, mostly as browsers read
them; what is not plain is no name. Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, count, takewhile
from urllib.parse import unquote_to_bytes

Parameter = tuple[str, str]

#: Up to what ends a parameter's name.
_NAME = re.compile(r'[^=;"]*')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_TO_SEMICOLON = re.compile(r"[^;]*")
#: A proxy may have joined two headers; what begins so is the second one.
_NEXT_HEADER = re.compile(
    r",\s*(?:(?:attachment|inline|form-data)\s*(?:[;,]|\Z)|filename\*?\s*=)", re.IGNORECASE
)
#: Paths of Windows, in which senders forget to double the backslashes.
_WINDOWS_PATH = re.compile(r'(?:[A-Za-z]:|\.{1,2})?\\(?!")')
#: RFC 2231, section 3: pieces of one value, numbered without leading zeros.
_CONTINUATION = re.compile(r"filename\*(0|[1-9][0-9]{0,2})(\*?)")
#: Charsets of the extended form: those of texts. Python knows others that are none (unicode_escape).
_CHARSET = re.compile(
    r"utf-?8|us-ascii|iso-?8859-\d{1,2}|windows-125\d|gbk|gb2312|gb18030|big5|shift[_-]jis|euc-(jp|kr)"
    r"|koi8-[ru]",
    re.IGNORECASE,
)
_LATIN = frozenset({"us-ascii", "iso-8859-1", "iso8859-1", "windows-1252"})


def filename_from_header(header: str) -> str | None:
    """Return the name that a header gives, as it stands there, or None when it gives none.

    The extended form (``filename*``) comes first, then one in numbered pieces, then the plain form; of
    several of one form the first that can be read.

    Args:
        header: the field's value, one character an octet.
    """
    parameters = list(_parameters(header))
    names = chain(
        (_extended(value) for name, value in parameters if name == "filename*"),
        [_continued_parameter(parameters)],
        (_plain(value) for name, value in parameters if name == "filename"),
    )
    return next((name for name in names if name), None)


def _parameters(header: str) -> Iterator[Parameter]:
    """Give (name in lower case, value without quotes); what is no parameter is passed over."""
    position, has_name = 0, False
    while position < len(header):
        name, position = _match(_NAME, header, position)
        if header.startswith("=", position):
            value, position, is_last = _value(header, position + 1)
            # Where a type ought to end by a semicolon, some write a comma.
            name = name.rpartition(",")[2].strip().lower()
            yield name, value
            has_name = has_name or name.startswith("filename")
            if is_last and has_name:
                return
        elif header.startswith('"', position):
            _, position, _ = _value(header, position)
        position += 1  # the semicolon


def _value(header: str, position: int) -> tuple[str, int, bool]:
    """Return a value, where the semicolon after it is, and whether another header begins before that."""
    while header[position : position + 1] in {" ", "\t"}:
        position += 1
    quoted = _QUOTED.match(header, position)
    if quoted is not None:
        after, end = _match(_TO_SEMICOLON, header, quoted.end())
        return _unescaped(quoted[1]), end, after.lstrip().startswith(",")
    # Without quotes; or with one that nothing closes, which then says nothing of what it encloses.
    value, end = _match(_TO_SEMICOLON, header, position)
    cut = _NEXT_HEADER.search(f"{value};")
    value = value if cut is None else value[: cut.start()]
    if value.startswith('"'):
        value = _unescaped(value[1:].rstrip("\\"))
    return value.strip(" \t"), end, cut is not None


def _match(pattern: re.Pattern[str], text: str, position: int) -> tuple[str, int]:
    """Return what a pattern that matches anywhere matches at `position`, and where that ends."""
    match = pattern.match(text, position)
    return (match[0], match.end()) if match else ("", position)


def _unescaped(text: str) -> str:
    escaped = r'\\(["\\])' if _WINDOWS_PATH.match(text) else r"\\(.)"
    return re.sub(escaped, r"\1", text, flags=re.DOTALL)


def _extended(value: str) -> str | None:
    """Read ``charset'language'percent-encoded``; without both quotes all of it is UTF-8."""
    parts = value.split("'", 2)
    if len(parts) == 2:
        return None
    charset, encoded = (parts[0], parts[2]) if len(parts) == 3 else ("", value)
    return _decoded(unquote_to_bytes(_octets(encoded)), charset or "utf-8")


def _continued_parameter(parameters: Iterable[Parameter]) -> str | None:
    pieces: dict[int, tuple[bool, str]] = {}
    for name, value in parameters:
        match = _CONTINUATION.fullmatch(name)
        if match is not None:
            pieces.setdefault(int(match[1]), (bool(match[2]), value))
    if 0 not in pieces:
        return None
    charset = ""
    is_encoded, first = pieces[0]
    if is_encoded and first.count("'") >= 2:
        charset, _language, first = first.split("'", 2)
        pieces[0] = (True, first)
    in_order = (pieces[number] for number in takewhile(pieces.__contains__, count()))
    octets = b"".join(
        unquote_to_bytes(_octets(text)) if is_encoded else _octets(text)
        for is_encoded, text in in_order
    )
    return _decoded(octets, charset) if charset else _as_sent(octets)


def _plain(value: str) -> str:
    return _as_sent(_octets(value))


def _octets(text: str) -> bytes:
    """Undo the reading of one character an octet; other characters, which tests write, are UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeError:
        return text.encode(errors="replace")


def _as_sent(octets: bytes) -> str:
    """Read octets that came without a charset: as UTF-8 where they are that, as many servers send it."""
    try:
        return octets.decode()
    except UnicodeError:
        return _latin(octets)


def _decoded(octets: bytes, charset: str) -> str | None:
    if not _CHARSET.fullmatch(charset):
        return None
    if charset.lower() in _LATIN:
        return _latin(octets)
    try:
        return octets.decode(charset)
    except (LookupError, ValueError):
        return None


def _latin(octets: bytes) -> str:
    """Read ISO 8859-1 as browsers do: as Windows-1252, which has letters where that has controls."""
    return "".join(_latin_character(octet) for octet in octets)


def _latin_character(octet: int) -> str:
    try:
        return bytes([octet]).decode("cp1252")
    except UnicodeError:
        return chr(octet)
