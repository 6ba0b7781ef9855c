"""Undoes a Content-Encoding in steps of bounded output.

A few bytes of input may decode to gigabytes, so nothing here returns more than `STEP` bytes at once: the
caller checks its limits between two steps. libcurl's own decoding is not used: it accepts a truncated
compressed stream as complete.
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

#: The largest output of one step, for each coding of a body. Bytes.
STEP = 256 * 1024
#: The most codings of one body. libcurl has the same limit.
MAX_CODINGS = 5
#: The largest window of a zstd body on the web (RFC 9659): 8 MiB, as a power of two. A decoder needs a
#: little more memory than that.
_ZSTD_WINDOW_LOG = 23


class _Stream(Protocol):
    """A decompressor with the interface of `bz2`, `lzma` and `compression.zstd`."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been reached."""

    @property
    def needs_input(self) -> bool:
        """Whether further output requires further input."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes; unused input is kept for the next call."""


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
        # After a full output more may follow, even if all input is consumed.
        self.needs_input = not self._zlib.unconsumed_tail and len(output) < max_length
        return output


def _open_gzip(_start: bytes) -> _Stream:
    # 32: detect gzip or zlib by the header, since some origins confuse them.
    return _Inflate(zlib.MAX_WBITS | 32)


def _open_deflate(start: bytes) -> _Stream:
    """Open zlib's format (RFC 9110), gzip's, or the raw deflate stream that some origins send."""
    has_header = start[:2] == b"\x1f\x8b" or (
        start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0
    )
    return _Inflate(zlib.MAX_WBITS | 32 if has_header else -zlib.MAX_WBITS)


def _open_zstd(_start: bytes) -> _Stream:
    limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=limit)


#: By coding: the function that opens a stream by its first two bytes, and whether streams may be
#: concatenated (RFC 1952, section 2.2; RFC 8878, section 3.1).
_CODINGS: MappingProxyType[str, tuple[Callable[[bytes], _Stream], bool]] = MappingProxyType(
    {
        "gzip": (_open_gzip, True),
        "x-gzip": (_open_gzip, True),
        "deflate": (_open_deflate, False),
        "zstd": (_open_zstd, True),
    }
)
#: A stream's format is detected by this many bytes.
_SIGNATURE_SIZE = 2
#: The most empty streams in a row: each takes time, and produces no bytes that a limit would count.
_MAX_EMPTY_STREAMS = 1000
#: Input passed to a stream at once. Small, since the rest after each of many short streams is copied.
_INPUT_SLICE = 16 * 1024


class _Layer:
    """One coding of a body: one or more concatenated streams."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._open, self._may_repeat = _CODINGS[coding]
        self._stream: _Stream | None = None
        self._input = b""
        #: Input that follows `_input`.
        self._pending_input = bytearray()
        #: Streams opened since the last output.
        self._opened = 0

    def feed(self, data: bytes) -> None:
        self._pending_input += data
        self._refill()

    @property
    def has_work(self) -> bool:
        """Whether `step` can continue without further input."""
        if self._is_between_streams:
            return len(self._input) >= _SIGNATURE_SIZE
        return bool(self._input) or (self._stream is not None and not self._stream.needs_input)

    def step(self) -> bytes:
        """Return the next output: at most `STEP` bytes, possibly none.

        Empty streams are skipped, as many as one slice of input contains.
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
        """Raise TransientError unless the last stream is complete."""
        # A body without any byte is an empty file.
        if self._input or (self._stream is not None and not self._stream.eof):
            raise TransientError(
                f"The body ends in the middle of its {self._coding} encoding.", code="truncated"
            )

    @property
    def _is_between_streams(self) -> bool:
        return self._stream is None or self._stream.eof

    def _open_next(self) -> _Stream:
        if self._stream is not None and not self._may_repeat:
            # They could be the rest of a damaged file, so they are not ignored.
            raise _bad_encoding(self._coding, "more bytes follow its end")
        self._opened += 1
        if self._opened > _MAX_EMPTY_STREAMS:
            raise _bad_encoding(
                self._coding, f"more than {_MAX_EMPTY_STREAMS:,} empty streams in a row"
            )
        return self._open(self._input[:_SIGNATURE_SIZE])

    def _refill(self) -> None:
        """Move a slice of pending input to `_input` when that is too short to detect a stream."""
        while self._pending_input and len(self._input) < _SIGNATURE_SIZE:
            self._input += self._pending_input[:_INPUT_SLICE]
            del self._pending_input[:_INPUT_SLICE]
            self._skip_padding()

    def _skip_padding(self) -> None:
        """Drop the zeros with which a gzip file may be padded."""
        if self._open is _open_gzip and self._stream is not None and self._stream.eof:
            self._input = self._input.lstrip(b"\0")

    def _decoding_error(self, error: Exception) -> TransientError | PermanentError:
        if "too much memory" in str(error):
            return PermanentError(
                "The origin sends zstd with a window of more than 8 MiB, which takes too much memory to "
                "decode (RFC 9659). Without --decode the file is stored as sent.",
                code="unknown_encoding",
            )
        return _bad_encoding(self._coding, str(error))


class Decoder:
    """Decodes one body: call `feed`, then `step` while it `has_work`.

    Args:
        encoding: the Content-Encoding header, with the codings in the order of their application.

    Raises:
        PermanentError: a coding is not supported, or there are too many.
    """

    def __init__(self, encoding: str) -> None:
        #: The coding applied last comes first.
        self._layers = [_Layer(coding) for coding in reversed(_codings(encoding))]

    def feed(self, data: bytes) -> None:
        """Add any number of bytes of the body; they are kept until they are decoded."""
        self._layers[0].feed(data)

    @property
    def has_work(self) -> bool:
        """Whether `step` can continue without further input."""
        return any(layer.has_work for layer in self._layers)

    def step(self) -> bytes:
        """Return the next bytes of the file: at most `STEP`, possibly none.

        Memory is bounded too: output is passed to the next coding only when that has used up its input.

        Raises:
            TransientError: the body does not have the encoding of its header.
            PermanentError: decoding would take too much memory.
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
        """Raise TransientError unless the body is complete."""
        for layer in self._layers:
            layer.finish()


def _codings(encoding: str) -> list[str]:
    names = [name.strip().lower() for name in encoding.split(",")]
    codings = [name for name in names if name not in {"", "identity"}]
    unknown = [name for name in codings if name not in _CODINGS]
    if unknown or len(codings) > MAX_CODINGS:
        raise PermanentError(
            f"The origin sends the encoding {encoding[:100]!r}; supported are {', '.join(_CODINGS)}, at "
            f"most {MAX_CODINGS} at once. Without --decode the file is stored as sent.",
            code="unknown_encoding",
        )
    return codings


def _bad_encoding(coding: str, reason: str) -> TransientError:
    return TransientError(f"The body is not valid {coding}: {reason}.", code="bad_encoding")
