"""Names that more file systems take, for one that a file system has refused."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

#: What FAT, exFAT, NTFS and shares refuse in a name.
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
#: The shortest limits that are in use: 143 bytes with eCryptfs, 255 UTF-16 units elsewhere.
_BYTES = 120


def fallback_names(name: str) -> list[str]:
    """Return names to try in place of `name`, the most alike first; its suffix is kept."""
    plain = _shorten(_REFUSED.sub("_", name))
    ascii_only = _shorten("".join(char if char.isascii() else "_" for char in plain))
    found: list[str] = []
    for candidate in (plain, ascii_only, f"download{PurePosixPath(ascii_only).suffix}"):
        if candidate not in {name, *found}:
            found.append(candidate)
    return found


def _shorten(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > _BYTES // 2:
        suffix = ""
    room = _BYTES - len(suffix.encode())
    stem = name.removesuffix(suffix).encode()[:room].decode(errors="ignore")
    # Without a stem the suffix would be a hidden file's name, or one of the service's own.
    return (stem.rstrip(". ") or "download") + suffix
