"""File names and folders: what a header or a URL from outside may become on our disk."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from domain.errors import DiskUnavailableError, InvalidInputError
from domain.files import MAX_NAME_BYTES, WORKING_PREFIX
from worker.storage.content_disposition import filename_from_header

FALLBACK_NAME = "download"

#: Unicode's controls, lone surrogates, and separators of lines.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: Joiners shape letters (Persian) and emoji; without them the name is another one.
_JOINERS = frozenset("\u200c\u200d")
#: Format characters that can be seen: signs that enclose the digits after them.
_VISIBLE_FORMATS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
#: The flags of England, Scotland and Wales are this emoji with tags after it.
_FLAG, _TAGS = "\U0001f3f4", frozenset(map(chr, range(0xE0020, 0xE0080)))
#: Letters and symbols that cannot be seen either: Hangul fillers, a Braille cell without dots.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_SPACES = " \u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
#: A row of spaces pushes a suffix out of sight.
_SPACE_RUN = re.compile(f"[{_SPACES}]{{5,}}")
#: What a name does not end with: shares of Windows drop dots and spaces there, and what is left may be
#: another file's name; a joiner has nothing to join.
_NOT_AT_END = f".{_SPACES}{''.join(_JOINERS)}"
#: More marks upon one letter than any script needs, and less than hide the lines around it.
_MAX_MARKS = 8

#: Suffixes that come after another one, which belongs to the name's end as well: ``film.tar.gz.asc``.
_SUFFIXES = re.compile(
    r"(?<=.)(?:\.[a-z][a-z0-9]{0,3})?"
    r"(?:\.(?:gz|bz2?|xz|zst|z|lz|lz4|lzma|lzo|br|gpg|pgp|age|asc|sig|md5|sha1|sha256|sha512))+$",
    re.IGNORECASE | re.DOTALL,
)
_MAX_SUFFIX_BYTES = 20

#: Percent-encoded octets, but for the percent sign itself.
_ENCODED = re.compile(r"(?:%(?!25)[0-9A-Fa-f]{2})+")
#: A percent sign after which there is nothing that would make an encoded octet of it.
_PLAIN_PERCENT = re.compile(r"%25(?![0-9A-Fa-f]{2})")
#: RFC 1738, section 3.2.2: how to transfer, not what.
_FTP_TYPE = re.compile(r";type=[aid]$", re.IGNORECASE)


def resolve_directory(root: Path, directory: str, *, allow_any: bool) -> Path:
    """Return the folder a job's file goes to.

    Args:
        root: the download folder, resolved.
        directory: relative to it, or absolute where `allow_any` says so.

    Raises:
        InvalidInputError: the folder lies outside the download folder, also by way of a link.
        DiskUnavailableError: the download folder itself has become a link, or lies behind one.
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
        _check_root_unmoved(root)
        raise InvalidInputError(
            "directory", directory, f"It must lie inside the download folder {root}."
        )
    return target


def _check_root_unmoved(root: Path) -> None:
    """Raise where the download folder was moved since this process began: no job is wrong for that."""
    try:
        now = root.resolve()
    except (OSError, RuntimeError):
        return
    if now != root:
        raise DiskUnavailableError(
            f"The download folder {root} leads to {now} now. Start this program again to have files put "
            "there."
        )


def name_from_disposition(header: str | None) -> str | None:
    """Return the file name of a Content-Disposition header, made safe, or None when it gives none."""
    name = filename_from_header(header) if header else None
    return safe_name(name) if name else None


def name_from_url(url: str) -> str:
    """Return a safe file name from the last part of a URL's path.

    Encoded octets become the characters that they are, where these can stand in a name; others stay
    encoded, so that two URLs do not become one name.
    """
    parts = urlsplit(url)
    path = _FTP_TYPE.sub("", parts.path) if parts.scheme.lower().startswith("ftp") else parts.path
    last = PurePosixPath(path).name.replace("\\", "%5C")
    if not last:
        return FALLBACK_NAME
    return safe_name(_PLAIN_PERCENT.sub("%", _ENCODED.sub(_readable, last)))


def _readable(encoded: re.Match[str]) -> str:
    """Decode a run of percent-encoded octets; what is no UTF-8 or cannot be in a name stays as it is."""
    text, position = encoded[0], 0
    shown = []
    # Octets that are not UTF-8 become surrogates, one each.
    for char in bytes.fromhex(text.replace("%", "")).decode(errors="surrogateescape"):
        end = position + 3 * len(char.encode(errors="surrogateescape"))
        stays = char in "/\\" or unicodedata.category(char) in _CONTROLS
        shown.append(text[position:end] if stays else char)
        position = end
    return "".join(shown)


def safe_name(name: str) -> str:
    """Return `name` as one path component: as it is, but for what does harm here.

    Gone are folders, what hides or turns around a part of the name, and what does not fit. A name that
    would be one of the service's own working names loses its first dot.
    """
    name = _visible(re.split(r"[/\\]", name)[-1])
    if name.casefold().startswith(WORKING_PREFIX):
        name = name.removeprefix(".")
    return _shorten(name) or FALLBACK_NAME


def _visible(name: str) -> str:
    """Drop what cannot be seen or makes the rest look different.

    Controls, and format characters such as right-to-left overrides that make "exe.txt" of "txt.exe";
    spaces in a row, which push a suffix out of sight; marks that have no letter to stand on, or far too
    many of them; spaces, dots and joiners at the end.
    """
    kept: list[str] = []
    marks = 0
    for char in name:
        if _is_hidden(char, kept[-1] if kept else ""):
            continue
        marks = marks + 1 if unicodedata.category(char)[0] == "M" else 0
        if marks <= _MAX_MARKS and (kept or not (marks or char in _SPACES)):
            kept.append(char)
    return _SPACE_RUN.sub(" ", "".join(kept)).rstrip(_NOT_AT_END)


def _is_hidden(char: str, before: str) -> bool:
    """Say whether a character cannot be seen and means nothing after the one before it."""
    if char in _JOINERS:
        return not before or before in _SPACES or before in _JOINERS
    if char in _TAGS:
        return before != _FLAG and before not in _TAGS
    category = unicodedata.category(char)
    if category == "Cf":
        return char not in _VISIBLE_FORMATS
    return category in _CONTROLS or char in _BLANK_LETTERS


def _shorten(name: str) -> str:
    """Cut a name to the length that there is room for, before its suffix, between two characters."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = _suffix(name)
    if len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        suffix = ""
    room = MAX_NAME_BYTES - len(suffix.encode())
    stem = name.removesuffix(suffix).encode()[:room].decode(errors="ignore")
    return stem.rstrip(_NOT_AT_END) + suffix


def numbered(name: str, number: int) -> str:
    """Return `name` with a number before its suffix: ``film (2).tar.gz``; 0 leaves it as it is."""
    if number == 0:
        return name
    suffix = _suffix(name)
    return f"{name.removesuffix(suffix)} ({number}){suffix}"


def _suffix(name: str) -> str:
    """Return the end of a name that says what is in it: ``.mkv``, ``.tar.gz``; "" without one."""
    match = _SUFFIXES.search(name)
    return match[0] if match else PurePosixPath(name).suffix
