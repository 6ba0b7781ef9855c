"""What is to be fetched, and how the caller wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSpec:
    """One file to fetch.

    Attributes:
        urls: the file's URL, and mirrors of it; all checked.
        checksum: the caller's, as ``algorithm:hex``.
        headers, cookies, username, password: go with requests to the first URL's origin, and
        nowhere else.
        connections: at most so many at once.
        max_bytes: a larger file is refused; None for any size.
        decode: undo a Content-Encoding that the origin sends without being asked to.
        ignore_origin_digests: what the origin says the file's digest is does not count.
    """

    urls: tuple[str, ...]
    checksum: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    cookies: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    connections: int = 4
    max_bytes: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False
