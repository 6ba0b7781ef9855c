"""Safe file names and folders from headers, URLs and requests."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from domain.errors import DiskUnavailableError, InvalidInputError
from domain.files import MAX_NAME_BYTES, WORKING_PREFIX
from worker.storage.content_disposition import filename_from_header

FALLBACK_NAME = "download"

#: Unicode categories: controls, lone surrogates, line separators.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: Joiners change how letters (Persian) and emoji look, so they are kept.
_JOINERS = frozenset("\u200c\u200d")
#: Visible format characters: signs that enclose the digits after them.
_VISIBLE_FORMATS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
#: The flags of England, Scotland and Wales are this emoji followed by tags.
_FLAG, _TAGS = "\U0001f3f4", frozenset(map(chr, range(0xE0020, 0xE0080)))
#: Invisible letters and symbols: Hangul fillers, a Braille cell without dots.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_SPACES = " \u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
#: Many spaces would move the suffix out of sight.
_SPACE_RUN = re.compile(f"[{_SPACES}]{{5,}}")
#: Characters that are removed at the end of a name. Windows shares drop dots and spaces there, which
#: could give another file's name; a joiner at the end has no effect.
_NOT_AT_END = f".{_SPACES}{''.join(_JOINERS)}"
#: More combining marks on one letter than any script needs.
_MAX_MARKS = 8

#: Suffixes after which the suffix before them is kept as well: ``film.tar.gz.asc``.
_SUFFIXES = re.compile(
    r"(?<=.)(?:\.[a-z][a-z0-9]{0,3})?"
    r"(?:\.(?:gz|bz2?|xz|zst|z|lz|lz4|lzma|lzo|br|gpg|pgp|age|asc|sig|md5|sha1|sha256|sha512))+$",
    re.IGNORECASE | re.DOTALL,
)
_MAX_SUFFIX_BYTES = 20

#: Percent-encoded bytes except the percent sign itself.
_ENCODED = re.compile(r"(?:%(?!25)[0-9A-Fa-f]{2})+")
#: An encoded percent sign that, decoded, does not start an encoded byte.
_PLAIN_PERCENT = re.compile(r"%25(?![0-9A-Fa-f]{2})")
#: RFC 1738, section 3.2.2: the transfer mode, not part of the name.
_FTP_TYPE = re.compile(r";type=[aid]$", re.IGNORECASE)


def resolve_directory(root: Path, directory: str, *, allow_any: bool) -> Path:
    """Return the folder for a job's file.

    Args:
        root: the download folder, resolved.
        directory: relative to `root`, or absolute. A relative one stays inside `root`.
        allow_any: whether an absolute one may lead outside.

    Raises:
        InvalidInputError: the folder is outside the download folder, possibly through a link.
        DiskUnavailableError: the download folder itself has been replaced by a link.
    """
    target = _plain_folder(root, directory) or _resolve(root, directory)
    may_leave = allow_any and directory.startswith("/")
    if not may_leave and not target.is_relative_to(root):
        _check_root_unmoved(root)
        raise InvalidInputError(
            "directory",
            directory,
            f"It must lie inside the download folder {root}. (SEEN_ALLOW_ANY_DIRECTORY=true allows "
            "absolute folders elsewhere.)",
        )
    return target


def _plain_folder(root: Path, directory: str) -> Path | None:
    """Return a folder whose path has no link, quickly; None to resolve the path.

    `Path.resolve` takes a hundred times as long, and each job needs its folder.
    """
    path = directory if directory.startswith("/") else f"{root}/{directory}"
    if path.startswith("//") or os.path.normpath(path) != path.rstrip("/"):
        return None
    end = 0
    while end < len(path):
        end = path.find("/", end + 1)
        if end < 0:
            end = len(path)
        try:
            if stat.S_ISLNK(os.lstat(path[:end]).st_mode):
                return None
        except FileNotFoundError:
            break  # what does not exist is no link
        except (OSError, ValueError):
            return None
    return Path(path)


def _resolve(root: Path, directory: str) -> Path:
    try:
        target = (root / directory).resolve()
        # Depending on its version, pathlib raises on a link loop or resolves up to it.
        is_loop = any(path.is_symlink() for path in (target, *target.parents))
    except (OSError, RuntimeError) as error:
        raise InvalidInputError(
            "directory", directory, f"It cannot be resolved: {error}."
        ) from error
    if is_loop:
        raise InvalidInputError("directory", directory, "Its symbolic links form a loop.")
    return target


def _check_root_unmoved(root: Path) -> None:
    """Raise if the download folder was replaced since this process started: no job causes that."""
    try:
        now = root.resolve()
    except (OSError, RuntimeError):
        return
    if now != root:
        raise DiskUnavailableError(
            f"The download folder {root} now leads to {now}. Restart this program to use that folder."
        )


def name_from_disposition(header: str | None) -> str | None:
    """Return a safe file name from a Content-Disposition header, or None if it has none."""
    name = filename_from_header(header) if header else None
    return safe_name(name) if name else None


def name_from_url(url: str) -> str:
    """Return a safe file name from the last part of a URL's path.

    Percent-encoded characters are decoded if a name may contain them. Others stay encoded, so that
    different URLs give different names.
    """
    parts = urlsplit(url)
    path = _FTP_TYPE.sub("", parts.path) if parts.scheme.lower().startswith("ftp") else parts.path
    last = PurePosixPath(path).name.replace("\\", "%5C")
    if not last:
        return FALLBACK_NAME
    return safe_name(_PLAIN_PERCENT.sub("%", _ENCODED.sub(_readable, last)))


def _readable(encoded: re.Match[str]) -> str:
    """Decode percent-encoded bytes, except those that are not UTF-8 or cannot be in a name."""
    text, position = encoded[0], 0
    shown = []
    # Each byte that is not UTF-8 becomes a surrogate.
    for char in bytes.fromhex(text.replace("%", "")).decode(errors="surrogateescape"):
        end = position + 3 * len(char.encode(errors="surrogateescape"))
        stays = char in "/\\" or unicodedata.category(char) in _CONTROLS
        shown.append(text[position:end] if stays else char)
        position = end
    return "".join(shown)


def safe_name(name: str) -> str:
    """Return `name` as one harmless path component.

    Removed are folders, characters that hide or reorder parts of the name, and excess length. The name
    of a working file loses its first dot.
    """
    name = _visible(re.split(r"[/\\]", name)[-1])
    if name.casefold().startswith(WORKING_PREFIX):
        name = name.removeprefix(".")
    return _shorten(name) or FALLBACK_NAME


def _visible(name: str) -> str:
    """Remove characters that are invisible or change how the rest looks.

    These are controls; format characters such as right-to-left overrides, which show "txt.exe" as
    "exe.txt"; long runs of spaces; combining marks without a letter, or too many of them; and spaces,
    dots and joiners at the end.
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
    """Return whether a character is invisible and has no effect after the character before it."""
    if char in _JOINERS:
        return not before or before in _SPACES or before in _JOINERS
    if char in _TAGS:
        return before != _FLAG and before not in _TAGS
    category = unicodedata.category(char)
    if category == "Cf":
        return char not in _VISIBLE_FORMATS
    return category in _CONTROLS or char in _BLANK_LETTERS


def _shorten(name: str) -> str:
    """Shorten a name to the allowed length; the suffix stays, and no character is cut in two."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = _suffix(name)
    if len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        suffix = ""
    max_stem = MAX_NAME_BYTES - len(suffix.encode())
    stem = name.removesuffix(suffix).encode()[:max_stem].decode(errors="ignore")
    return stem.rstrip(_NOT_AT_END) + suffix


def part_path(directory: Path, job_id: str) -> Path:
    """Return the path of a job's part file."""
    return directory / f"{WORKING_PREFIX}{job_id}.part"


def working_file(part: Path, suffix: str) -> str:
    """Return the path of a working file: that of the part file with another suffix.

    A string: to make a `Path` takes longer than to open the file.
    """
    return f"{str(part).removesuffix('.part')}{suffix}"


def numbered(name: str, number: int) -> str:
    """Return `name` with a number before its suffix: ``film (2).tar.gz``; unchanged for 0."""
    if number == 0:
        return name
    suffix = _suffix(name)
    return f"{name.removesuffix(suffix)} ({number}){suffix}"


def _suffix(name: str) -> str:
    """Return the suffix, of several parts if needed: ``.mkv``, ``.tar.gz``; "" without one."""
    match = _SUFFIXES.search(name)
    return match[0] if match else PurePosixPath(name).suffix
