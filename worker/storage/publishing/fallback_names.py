"""Names that more file systems accept, in place of one that was refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

#: Characters that FAT, exFAT, NTFS and network shares refuse.
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
#: Below the lowest limit in use: 143 bytes on eCryptfs.
_MAX_BYTES = 120


def fallback_names(name: str) -> Iterator[str]:
    """Yield names to try in place of `name`, the most similar first; its suffix is kept."""
    plain = _shorten(_REFUSED.sub("_", name))
    ascii_only = _shorten("".join(char if char.isascii() else "_" for char in plain))
    found = {name}
    for candidate in (plain, ascii_only, f"download{PurePosixPath(ascii_only).suffix}"):
        if candidate not in found:
            found.add(candidate)
            yield candidate


def _shorten(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > _MAX_BYTES // 2:
        suffix = ""
    max_stem = _MAX_BYTES - len(suffix.encode())
    stem = name.removesuffix(suffix).encode()[:max_stem].decode(errors="ignore")
    # Without a stem, the suffix alone would be a hidden file, or a working file.
    return (stem.rstrip(". ") or "download") + suffix
