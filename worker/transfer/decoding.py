"""Undoes a Content-Encoding.

Not left to libcurl: it takes a compressed stream that breaks off for a complete one.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import zstandard

from domain.errors import PermanentError, TransientError


class _Stream(Protocol):
    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end."""

    def decompress(self, data: bytes, /) -> bytes:
        """Return what the next bytes stand for."""


class Decoder:
    """One body's decoder.

    Args:
        encoding: the Content-Encoding field.

    Raises:
        PermanentError: nothing here undoes that encoding.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        self._stream = _stream(self._encoding)

    def decode(self, data: bytes) -> bytes:
        """Return what `data`, the next bytes of the body, stand for; raise TransientError if nothing."""
        try:
            return self._stream.decompress(data)
        except (zlib.error, zstandard.ZstdError) as error:
            raise TransientError(
                f"The body is not {self._encoding}, as the origin says: {error}.",
                code="bad_encoding",
            ) from error

    def finish(self) -> None:
        """Raise TransientError unless the stream has come to its end."""
        if not self._stream.eof:
            raise TransientError(
                f"The body ends in the middle of its {self._encoding} encoding.", code="truncated"
            )


def _stream(encoding: str) -> _Stream:
    if encoding in {"gzip", "x-gzip", "deflate"}:
        # 32: gzip or zlib, by what comes first.
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    raise PermanentError(
        f"The origin sends the encoding {encoding!r}, and only gzip, deflate and zstd can be undone. "
        "Without --decode the file is stored as it is sent.",
        code="unknown_encoding",
    )
