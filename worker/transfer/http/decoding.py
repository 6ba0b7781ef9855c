"""Undoes a Content-Encoding, in steps whose output is bounded.

A few bytes of input may stand for gigabytes, so nothing here returns more than `STEP` bytes at once: the
caller looks at its limits between two steps. libcurl is not asked to decode: it takes a compressed
stream that breaks off for a complete one.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from types import MappingProxyType
from typing import Protocol

from domain.errors import PermanentError, TransientError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: The most bytes one step returns, of each coding of a body.
STEP = 256 * 1024
#: A body encoded more often than this is not meant to be read. libcurl has the same limit.
MAX_CODINGS = 5
#: The largest window that a zstd body on the web may ask for (RFC 9659): 8 MiB, as a power of two. What
#: a decoder may take of the memory is a little more than that.
_ZSTD_WINDOW_LOG = 23


class _Stream(Protocol):
    """One compressed stream, as `bz2`, `lzma` and `compression.zstd` have it."""

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more can be returned without further input."""

    @property
    def unused_data(self) -> bytes:
        """The input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes; input that is not needed yet is kept."""


class _Inflate:
    """zlib's decompressor with the interface of the others."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full output may have more behind it, even if all of the input is consumed.
        self.needs_input = not self._zlib.unconsumed_tail and len(output) < max_length
        return output


def _open_gzip(_start: bytes) -> _Stream:
    # 32: gzip or zlib, by what comes first; some origins mistake one for the other.
    return _Inflate(zlib.MAX_WBITS | 32)


def _open_deflate(start: bytes) -> _Stream:
    """Open zlib's format (RFC 9110), gzip's, or the bare stream that some origins send instead."""
    has_header = start[:2] == b"\x1f\x8b" or (
        start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0
    )
    return _Inflate(zlib.MAX_WBITS | 32 if has_header else -zlib.MAX_WBITS)


def _open_zstd(_start: bytes) -> _Stream:
    limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=limit)


#: By coding: what opens a stream from its first two bytes, and whether several may follow each other
#: (RFC 1952, section 2.2; RFC 8878, section 3.1).
_CODINGS: MappingProxyType[str, tuple[Callable[[bytes], _Stream], bool]] = MappingProxyType(
    {
        "gzip": (_open_gzip, True),
        "x-gzip": (_open_gzip, True),
        "deflate": (_open_deflate, False),
        "zstd": (_open_zstd, True),
    }
)
#: So many bytes tell which format a stream has.
_SIGNATURE_SIZE = 2
#: So many streams in a row may be empty: each takes time, and brings nothing that a limit would count.
_MAX_EMPTY_STREAMS = 1000
#: A stream is given so many bytes at once: what follows its end is copied for each of many short ones.
_INPUT_SLICE = 16 * 1024


class _Layer:
    """One coding of a body: streams of it that follow each other."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._open, self._may_repeat = _CODINGS[coding]
        self._stream: _Stream | None = None
        self._input = b""
        #: What comes after `_input`.
        self._pending_input = bytearray()
        #: Streams that were opened since the last output.
        self._opened = 0

    def feed(self, data: bytes) -> None:
        self._pending_input += data
        self._refill()

    @property
    def has_work(self) -> bool:
        """Whether `step` can do anything without further input."""
        if self._is_between_streams:
            return len(self._input) >= _SIGNATURE_SIZE
        return bool(self._input) or (self._stream is not None and not self._stream.needs_input)

    def step(self) -> bytes:
        """Return what comes next, `STEP` bytes at most; nothing need come of it.

        Streams without output are passed over, as many as one slice of input holds.
        """
        while True:
            output = self._decompress()
            if output or not (self._is_between_streams and len(self._input) >= _SIGNATURE_SIZE):
                self._refill()
                return output

    def _decompress(self) -> bytes:
        if self._is_between_streams:
            self._stream = self._open_next()
        data, self._input = self._input, b""
        assert self._stream is not None
        try:
            output = self._stream.decompress(data, STEP)
        except (zlib.error, zstd.ZstdError) as error:
            raise self._decoding_error(error) from error
        if output:
            self._opened = 0
        if self._stream.eof:
            self._input = self._stream.unused_data
            self._skip_padding()
        return output

    def finish(self) -> None:
        """Raise TransientError unless the last stream has come to its end."""
        # A body without any byte stands for an empty file: there is nothing that could be missing.
        if self._input or (self._stream is not None and not self._stream.eof):
            raise TransientError(
                f"The body ends in the middle of its {self._coding} encoding.", code="truncated"
            )

    @property
    def _is_between_streams(self) -> bool:
        return self._stream is None or self._stream.eof

    def _open_next(self) -> _Stream:
        if self._stream is not None and not self._may_repeat:
            # Ignored, they could be what is left of a damaged file.
            raise _bad_encoding(self._coding, "more bytes follow its end")
        self._opened += 1
        if self._opened > _MAX_EMPTY_STREAMS:
            raise _bad_encoding(
                self._coding, f"more than {_MAX_EMPTY_STREAMS:,} empty streams in a row"
            )
        return self._open(self._input[:_SIGNATURE_SIZE])

    def _refill(self) -> None:
        """Take a slice of what has come, once there is too little to open or to go on with a stream."""
        while self._pending_input and len(self._input) < _SIGNATURE_SIZE:
            self._input += self._pending_input[:_INPUT_SLICE]
            del self._pending_input[:_INPUT_SLICE]
            self._skip_padding()

    def _skip_padding(self) -> None:
        """Drop the zeros with which a gzip file may be filled up."""
        if self._open is _open_gzip and self._stream is not None and self._stream.eof:
            self._input = self._input.lstrip(b"\0")

    def _decoding_error(self, error: Exception) -> TransientError | PermanentError:
        if "too much memory" in str(error):
            return PermanentError(
                "The origin sends zstd with a window of more than 8 MiB, which needs too much memory to "
                "undo (RFC 9659). Without --decode the file is stored as it is sent.",
                code="unknown_encoding",
            )
        return _bad_encoding(self._coding, str(error))


class Decoder:
    """One body's decoder: `feed` it, then take `step`s while it `has_work`.

    Args:
        encoding: the Content-Encoding field: codings in the order in which they were applied.

    Raises:
        PermanentError: a coding that is not known here, or too many of them.
    """

    def __init__(self, encoding: str) -> None:
        #: From the outermost coding, which the body itself has, to the one that the file had first.
        self._layers = [_Layer(coding) for coding in reversed(_codings(encoding))]

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the body. Their number is up to the caller; they are kept until used."""
        self._layers[0].feed(data)

    @property
    def has_work(self) -> bool:
        """Whether `step` can go on without further input."""
        return any(layer.has_work for layer in self._layers)

    def step(self) -> bytes:
        """Do one bounded segment of work; return the next bytes of the file, at most `STEP`, or none.

        The memory it takes is bounded as well: input goes on to the next coding only when that has used
        up what it had.

        Raises:
            TransientError: the body is not what its encoding says.
            PermanentError: undoing it would need too much memory.
        """
        for number in reversed(range(len(self._layers))):
            if self._layers[number].has_work:
                output = self._layers[number].step()
                if number == len(self._layers) - 1:
                    return output
                self._layers[number + 1].feed(output)
                break
        return b""

    def finish(self) -> None:
        """Raise TransientError unless the body has come to its end."""
        for layer in self._layers:
            layer.finish()


def _codings(encoding: str) -> list[str]:
    names = [name.strip().lower() for name in encoding.split(",")]
    codings = [name for name in names if name not in {"", "identity"}]
    unknown = [name for name in codings if name not in _CODINGS]
    if unknown or len(codings) > MAX_CODINGS:
        raise PermanentError(
            f"The origin sends the encoding {encoding[:100]!r}; {', '.join(_CODINGS)} can be undone, "
            f"{MAX_CODINGS} of them at most. Without --decode the file is stored as it is sent.",
            code="unknown_encoding",
        )
    return codings


def _bad_encoding(coding: str, why: str) -> TransientError:
    return TransientError(
        f"The body is not {coding}, as the origin says: {why}.", code="bad_encoding"
    )
