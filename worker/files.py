"""File names and folders: what a stranger's header may become on our disk."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from domain.errors import InvalidInputError
from domain.job import MAX_NAME_BYTES

FALLBACK_NAME = "download"

#: Unicode's controls, format characters, lone surrogates, and separators of lines.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Letters and symbols that nobody can see either: Hangul fillers, a Braille cell without dots.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
#: More marks upon one letter than any script needs, and less than hide the lines around it.
_MOST_MARKS = 8
#: Names that Windows keeps for devices; a file shared from there must not be called so.
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *([.:].*)?", re.IGNORECASE | re.DOTALL
)
#: Charsets of the extended form: those of texts. Python knows others that are none (unicode_escape).
_CHARSET = re.compile(
    r"utf-?8|us-ascii|iso-?8859-\d{1,2}|windows-125\d|gbk|gb2312|gb18030|big5|shift[_-]jis|euc-(jp|kr)"
    r"|koi8-[ru]",
    re.IGNORECASE,
)
_LONGEST_SUFFIX = 20


def resolve_directory(root: Path, directory: str, *, allow_any: bool) -> Path:
    """Return the folder a job's file goes to.

    Args:
        root: the download folder, resolved.
        directory: relative to it, or absolute where `allow_any` says so.

    Raises:
        InvalidInputError: the folder lies outside the download folder, also by way of a link.
    """
    try:
        target = (root / directory).resolve()
        # What is still a link leads in a circle: pathlib resolves that far, or raises, by its version.
        in_a_circle = any(path.is_symlink() for path in (target, *target.parents))
    except (OSError, RuntimeError) as error:
        raise InvalidInputError(
            "directory", directory, f"It cannot be resolved: {error}."
        ) from error
    if in_a_circle:
        raise InvalidInputError("directory", directory, "Its links lead in a circle.")
    if not allow_any and not target.is_relative_to(root):
        raise InvalidInputError(
            "directory", directory, f"It must lie inside the download folder {root}."
        )
    return target


def name_from_disposition(header: str | None) -> str | None:
    """Return the file name of a Content-Disposition header (RFC 6266), made safe, or None."""
    if not header:
        return None
    message = Message()
    message["content-disposition"] = header
    params: Iterable[tuple[str, Any]] = message.get_params([], header="content-disposition")
    values = [value for key, value in params if key.lower() == "filename"]
    # RFC 8187: (charset, language, percent-encoded text); it is preferred to the plain form.
    extended = [_decode_extended(value) for value in values if isinstance(value, tuple)]
    plain = [_as_utf8(value) for value in values if isinstance(value, str)]
    name = next((value for value in [*extended, *plain] if value), None)
    return safe_name(name) if name else None


def _decode_extended(value: tuple[str | None, str | None, str]) -> str | None:
    # The parser has undone the percent-encoding into one character an octet; the charset is left to us.
    charset, _language, octets = value
    charset = charset or "utf-8"
    if not _CHARSET.fullmatch(charset):
        return None
    try:
        return octets.encode("latin-1").decode(charset)
    except (LookupError, ValueError):
        return None


def _as_utf8(text: str) -> str:
    """Read a plain name's octets as UTF-8 where they are that: many servers send it so."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def name_from_url(url: str) -> str:
    """Return a safe file name from the last part of a URL's path."""
    last = PurePosixPath(urlsplit(url).path).name
    return safe_name(unquote(last, errors="replace")) if last else FALLBACK_NAME


def safe_name(name: str) -> str:
    """Return `name` as one harmless path component: no folders, controls, tricks, or excess length."""
    name = re.split(r"[/\\]", name)[-1]
    # Dots and spaces at the end are dropped by Windows, and what is left may be another file's name.
    name = _visible(unicodedata.normalize("NFC", name)).rstrip(". ")
    if not name:
        return FALLBACK_NAME
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    return _shorten(name)


def _visible(name: str) -> str:
    """Drop what cannot be seen or makes the rest look different.

    Controls, and format characters such as right-to-left marks that make "exe.txt" of "txt.exe";
    blanks in a row, which push a suffix out of sight; leading dots, which hide a file; marks that have
    no letter to stand on, or far too many of them.
    """
    kept: list[str] = []
    marks = 0
    for char in name:
        category = unicodedata.category(char)
        if category in _INVISIBLE or char in _BLANK:
            continue
        marks = marks + 1 if category[0] == "M" else 0
        shown = " " if category == "Zs" else char
        if not kept:
            wanted = not marks and shown not in ". "
        else:
            wanted = marks <= _MOST_MARKS and not (shown == kept[-1] == " ")
        if wanted:
            kept.append(shown)
    # Letters may compose anew, now that nothing stands between them and their marks.
    return unicodedata.normalize("NFC", "".join(kept))


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > _LONGEST_SUFFIX:
        suffix = ""
    room = MAX_NAME_BYTES - len(suffix.encode())
    stem = name.removesuffix(suffix).encode()[:room].decode(errors="ignore")
    return stem.rstrip(". ") + suffix


def numbered(name: str, number: int) -> str:
    """Return `name` with a number before its suffix: ``film (2).mkv``; 0 leaves it as it is."""
    if number == 0:
        return name
    path = PurePosixPath(name)
    return f"{path.stem} ({number}){path.suffix}"
